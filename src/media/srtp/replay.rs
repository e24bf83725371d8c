//! The replay list of one SSRC (RFC 3711 3.3.2): a window over the newest packets.

/// RFC 3711 3.3.2 asks for 64 at least.
const WINDOW: u64 = 128;

/// Which of the newest indices were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    top: u64,
    /// Bit n: `top - n` was seen.
    seen: u128,
}

impl Window {
    /// Returns true for an index that may still come.
    pub(super) fn is_new(&self, index: u64) -> bool {
        if self.seen == 0 || index > self.top {
            return true;
        }
        let behind = self.top - index;
        behind < WINDOW && self.seen >> behind & 1 == 0
    }

    /// Notes an index whose packet is authentic.
    pub(super) fn note(&mut self, index: u64) {
        if self.seen == 0 {
            *self = Self {
                top: index,
                seen: 1,
            };
        } else if index > self.top {
            let ahead = index - self.top;
            let shifted = if ahead < WINDOW {
                self.seen << ahead
            } else {
                0
            };
            *self = Self {
                top: index,
                seen: shifted | 1,
            };
        } else if self.top - index < WINDOW {
            self.seen |= 1 << (self.top - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_each_once() {
        let mut window = Window::default();
        for (index, new) in [
            (500, true),
            (500, false),
            (502, true),
            (501, true),
            (501, false),
            (374, false),
            (375, true),
            (375, false),
            (1000, true),
            (502, false),
            (873, true),
            (872, false),
        ] {
            assert_eq!(window.is_new(index), new, "{index}");
            if new {
                window.note(index);
            }
        }
    }

    #[test]
    fn the_first_may_be_zero() {
        let mut window = Window::default();
        assert!(window.is_new(0));
        window.note(0);
        assert!(!window.is_new(0));
        assert!(window.is_new(1));
    }
}
