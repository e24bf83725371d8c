//! What one shard has of the limits that hold for the node.

use crate::engine::settings::Settings;

/// Returns the settings of one shard among `workers`. Calls fall to shards by a hash, so that an even part
/// for each is the whole for the node where it is large; rounded up, so that nobody is left with none. What may be
/// small, or is of one user or address, is counted over all shards.
pub(super) fn of_shard(settings: &Settings, workers: usize) -> Settings {
    let mut settings = settings.clone();
    let workers = workers.max(1);
    let limits = &mut settings.limits;
    limits.ringing = limits.ringing.div_ceil(workers);
    limits.under_way = limits.under_way.div_ceil(workers);
    let messages = &mut settings.messages;
    messages.total_bytes = messages.total_bytes.div_ceil(workers);
    let rate = &mut settings.restore.rate;
    *rate = rate.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_up_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("refork.yaml");
        let text = "limits: { conversations: 7, ringing: 10, under_way: 8MiB }\nrestore: { rate: 10/s }\n\
                    messages: { queue: { total_bytes: 8MiB } }\n";
        std::fs::write(&file, text).unwrap();
        let whole = crate::config::check(&file).unwrap().engine;
        for (workers, rate, mib) in [(1, 10, 8), (2, 5, 4), (4, 3, 2)] {
            let part = of_shard(&whole, workers);
            assert_eq!(part.limits.conversations, 7, "counted over all shards");
            assert_eq!(part.limits.ringing, 10_usize.div_ceil(workers));
            assert_eq!(part.limits.under_way, mib << 20);
            assert_eq!(part.limits.ringing_per_user, 50, "counted over all shards");
            assert_eq!(part.restore.rate, rate);
            assert_eq!(part.messages.total_bytes, mib << 20);
        }
        assert_eq!(of_shard(&whole, 64).limits.ringing, 1);
    }

    #[test]
    fn a_rate_below_one_for_each_worker_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("refork.yaml");
        for (rate, told) in [(7, true), (8, false)] {
            let text = format!("node: {{ workers: 8 }}\nrestore: {{ rate: {rate}/s }}\n");
            std::fs::write(&file, text).unwrap();
            let config = crate::config::check(&file).unwrap();
            let mut warnings = config.warnings.iter();
            assert_eq!(
                warnings.any(|warning| warning.contains("restore.rate")),
                told
            );
            assert_eq!(of_shard(&config.engine, 8).restore.rate, 1);
        }
    }
}
