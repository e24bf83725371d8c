//! The system calls that std, mio and socket2 do not have: batches of datagrams and the error queue.
//! The only unsafe code of the SIP sockets.

#![expect(
    unsafe_code,
    reason = "recvmmsg, its control messages, MSG_ERRQUEUE and IP_RECVERR have no safe wrapper"
)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Datagrams taken by one call.
pub(super) const BATCH: usize = 32;

/// Who sent a datagram, whichever family it is of. A `sockaddr_storage` is four times as large, and cleared each time.
type Peer = libc::sockaddr_in6;
/// Room for the control messages of one error: an extended error and the address of its sender.
const CONTROL_BYTES: usize = 512;
/// So much of a message that an ICMP error quotes is looked at (RFC 1812 4.3.2.3: an IPv4 one is no longer in all).
pub(super) const QUOTED_MAX: usize = 576;
/// Room for those of a datagram: when it came, and how many were lost before it.
const QUEUE_BYTES: usize = 64;
/// RFC 792: destination unreachable, and which of its codes say that nobody is there.
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_NOBODY: [u8; 3] = [1, 2, 3];
/// RFC 4443 3.1, likewise: address unreachable, port unreachable.
const ICMP6_UNREACHABLE: u8 = 1;
const ICMP6_NOBODY: [u8; 2] = [3, 4];

/// One datagram of a batch: where it lies in the buffer, and from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) peer: Option<SocketAddr>,
    pub(super) len: usize,
    /// Larger than its place: the rest is lost.
    pub(super) truncated: bool,
}

/// What the kernel says of the queue that a batch was taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// When the first of the batch came, since the Unix epoch by the wall clock.
    pub(super) since: Option<Duration>,
    /// How many had found it full before then, since the socket was opened; it wraps. None where no
    /// datagram of the batch says so, or there were none.
    pub(super) lost: Option<u32>,
}

/// One entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuedError {
    /// Nobody is there, says ICMP of something sent to this address, of which so many bytes are quoted.
    Nobody(SocketAddr, usize),
    /// Another kind, such as a hop limit exceeded or a path's packet size.
    Other,
}

/// Asks the kernel to keep ICMP errors, with what they quote, on the socket's error queue.
pub(super) fn report_errors(socket: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, name) = if v6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR)
    };
    switch_on(socket, level, name)
}

/// Asks the kernel to say of each datagram when it came, and how many the queue had no room for
/// (socket(7): SO_TIMESTAMPNS, SO_RXQ_OVFL).
pub(super) fn report_queue(socket: impl AsFd) -> io::Result<()> {
    switch_on(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    switch_on(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)
}

fn switch_on(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a whole c_int that lives through the call, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes up to `BATCH` datagrams without waiting. Datagram `i` lies at `i * size` of the buffer, which
/// has `BATCH * size` bytes. The first, which has waited longest, speaks for the queue.
pub(super) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    size: usize,
    arrived: &mut Vec<Arrived>,
) -> io::Result<Queue> {
    arrived.clear();
    let mut control = Control([0; QUEUE_BYTES]);
    // SAFETY: all three are plain C structs for which zeroes are valid.
    let (mut names, mut parts, mut headers) = unsafe {
        (
            zeroed::<[Peer; BATCH]>(),
            zeroed::<[libc::iovec; BATCH]>(),
            zeroed::<[libc::mmsghdr; BATCH]>(),
        )
    };
    let mut places = 0;
    for (((place, name), part), header) in buffer
        .chunks_exact_mut(size)
        .zip(&mut names)
        .zip(&mut parts)
        .zip(&mut headers)
    {
        part.iov_base = place.as_mut_ptr().cast();
        part.iov_len = place.len();
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<Peer>() as libc::socklen_t;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        places += 1;
    }
    headers[0].msg_hdr.msg_control = control.0.as_mut_ptr().cast();
    headers[0].msg_hdr.msg_controllen = QUEUE_BYTES as _;
    // SAFETY: the first `places` headers point to names, parts, chunks of the buffer and, one of them, to
    // the control buffer, that live through the call and overlap nowhere.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            places,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    arrived.extend(
        headers
            .iter()
            .zip(&names)
            .take(count as usize)
            .map(|(header, name)| Arrived {
                peer: address(name),
                len: (header.msg_len as usize).min(size),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            }),
    );
    Ok(queue(&headers[0].msg_hdr))
}

/// Control messages lie aligned.
#[repr(align(8))]
struct Control<const BYTES: usize>([u8; BYTES]);

fn queue(header: &libc::msghdr) -> Queue {
    let mut queue = Queue::default();
    for_each_control(header, |level, kind, data| match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
            // SAFETY: the kind says what it is. It may lie unaligned.
            let since = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            let (secs, nanos) = (u64::try_from(since.tv_sec), u32::try_from(since.tv_nsec));
            if let (Ok(secs), Ok(nanos)) = (secs, nanos) {
                queue.since = Some(Duration::new(secs, nanos));
            }
        }
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            // SAFETY: as above.
            queue.lost = Some(unsafe { data.cast::<u32>().read_unaligned() });
        }
        _ => {}
    });
    queue
}

/// Takes one entry off the error queue; none where it is empty. What it quotes of the datagram is put into `quoted`: that
/// begins with what was sent, without any header.
pub(super) fn next_error(socket: impl AsFd, quoted: &mut [u8; QUOTED_MAX]) -> Option<QueuedError> {
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: plain C structs for which zeroes are valid.
    let (mut name, mut header) = unsafe { (zeroed::<Peer>(), zeroed::<libc::msghdr>()) };
    let mut part = libc::iovec {
        iov_base: quoted.as_mut_ptr().cast(),
        iov_len: quoted.len(),
    };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<Peer>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to a name, a part and a control buffer that live through the call.
    let result = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    if result < 0 {
        return None;
    }
    let Some(error) = extended_error(&header) else {
        return Some(QueuedError::Other);
    };
    let nobody = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => {
            error.ee_type == ICMP_UNREACHABLE && ICMP_NOBODY.contains(&error.ee_code)
        }
        libc::SO_EE_ORIGIN_ICMP6 => {
            error.ee_type == ICMP6_UNREACHABLE && ICMP6_NOBODY.contains(&error.ee_code)
        }
        _ => false,
    };
    Some(match address(&name) {
        Some(peer) if nobody => QueuedError::Nobody(peer, (result as usize).min(QUOTED_MAX)),
        Some(_) | None => QueuedError::Other,
    })
}

fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    let mut error = None;
    for_each_control(header, |level, kind, data| {
        let is_error = matches!(
            (level, kind),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        );
        if is_error && error.is_none() {
            // SAFETY: the kind says what it is. It may lie unaligned.
            error = Some(unsafe { data.cast::<libc::sock_extended_err>().read_unaligned() });
        }
    });
    error
}

/// Goes through the control messages of a header that a receiving call has filled in: level, kind, data.
fn for_each_control(
    header: &libc::msghdr,
    mut each: impl FnMut(libc::c_int, libc::c_int, *const libc::c_uchar),
) {
    // SAFETY: the header was filled in by the kernel and its control buffer still lives; CMSG_NXTHDR
    // stays within it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let (level, kind) = ((*control).cmsg_level, (*control).cmsg_type);
            each(level, kind, libc::CMSG_DATA(control));
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

fn address(name: &Peer) -> Option<SocketAddr> {
    match i32::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct it is, which is the smaller one and aligned alike.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}
