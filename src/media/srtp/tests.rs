use proptest::prelude::*;

use super::*;
use crate::sip::sdp::{MasterKey, Suite};

const NOW: u64 = 1_700_000_000_000_000;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

fn key(suite: Suite, octet: u8) -> MasterKey {
    MasterKey::fresh(suite, |octets| octets.fill(octet))
}

fn pair(suite: Suite) -> (Outbound, Inbound) {
    let key = key(suite, 7);
    (
        Outbound::new(&key, NOW).unwrap(),
        Inbound::new(&key).unwrap(),
    )
}

fn voice(ssrc: u32, sequence: u16, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend(ssrc.to_be_bytes());
    packet.resize(172, payload);
    packet
}

fn report(ssrc: u32) -> Vec<u8> {
    [&[0x80, 200, 0, 6][..], &ssrc.to_be_bytes(), &[5; 20]].concat()
}

fn sealed(out: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut room = packet.to_vec();
    room.resize(packet.len() + GROWTH, 0);
    let length = out.rtp(&mut room, packet.len()).unwrap();
    room.truncate(length);
    room
}

fn opened(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut packet = packet.to_vec();
    let length = inbound.rtp(&mut packet)?;
    packet.truncate(length);
    Ok(packet)
}

/// A packet that libsrtp's test driver (`srtp_validate`) has for this key.
#[test]
fn agrees_with_libsrtp() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
    let key = MasterKey::new(Suite::AesCm128HmacSha1_80, &master).unwrap();
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let cipher =
        hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    let mut out = Outbound::new(&key, NOW).unwrap();
    assert_eq!(sealed(&mut out, &plain), cipher);
    let mut inbound = Inbound::new(&key).unwrap();
    assert_eq!(opened(&mut inbound, &cipher), Ok(plain));
}

#[test]
fn every_suite_goes_there_and_back() {
    for suite in Suite::ALL {
        let (mut out, mut inbound) = pair(suite);
        let packet = voice(1, 5, 3);
        let wire = sealed(&mut out, &packet);
        assert_ne!(wire[12..172], packet[12..]);
        assert_eq!(opened(&mut inbound, &wire), Ok(packet), "{suite:?}");
        assert_eq!(opened(&mut inbound, &wire), Err(Refused::Replayed));
        let mut room = report(1);
        room.resize(28 + GROWTH, 0);
        let length = out.rtcp(&mut room, 28, NOW).unwrap();
        room.truncate(length);
        let mut again = room.clone();
        assert_eq!(inbound.rtcp(&mut room), Ok(28));
        assert_eq!(room[..28], report(1), "{suite:?}");
        assert_eq!(inbound.rtcp(&mut again), Err(Refused::Replayed));
    }
}

#[test]
fn a_changed_octet_is_seen_and_leaves_no_trace() {
    for suite in Suite::ALL {
        let (mut out, mut inbound) = pair(suite);
        let wire = sealed(&mut out, &voice(1, 5, 3));
        for at in [1, 3, 8, 12, 100, wire.len() - 1] {
            let mut forged = wire.clone();
            forged[at] ^= 1;
            assert_eq!(opened(&mut inbound, &forged), Err(Refused::Forged));
        }
        assert!(opened(&mut inbound, &wire).is_ok());
        let mut room = report(1);
        room.resize(28 + GROWTH, 0);
        let length = out.rtcp(&mut room, 28, NOW).unwrap();
        for at in [1, 5, 20, 29, length - 1] {
            let mut forged = room[..length].to_vec();
            forged[at] ^= 1;
            assert_eq!(inbound.rtcp(&mut forged), Err(Refused::Forged));
        }
        assert_eq!(inbound.rtcp(&mut room[..length]), Ok(28));
    }
}

#[test]
fn counts_over_the_wrap_with_loss_and_disorder() {
    let (mut out, mut inbound) = pair(Suite::AesCm128HmacSha1_80);
    let mut wire = Vec::new();
    for number in 65_500u32..65_600 {
        wire.push(sealed(&mut out, &voice(1, number as u16, 3)));
    }
    wire.swap(35, 36);
    wire.swap(34, 40);
    wire.remove(50);
    for packet in &wire {
        assert!(opened(&mut inbound, packet).is_ok());
    }
    // Twice around, most of it lost.
    for number in (65_600u32..200_000).step_by(20_000) {
        let packet = sealed(&mut out, &voice(1, number as u16, 3));
        assert!(opened(&mut inbound, &packet).is_ok(), "{number}");
    }
}

#[test]
fn who_joins_late_finds_the_rollover_counter() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let (mut out, mut inbound) = pair(suite);
        for number in (0..4 * 65_536u32 + 100).step_by(10_000) {
            sealed(&mut out, &voice(1, number as u16, 3));
        }
        let packet = voice(1, 10_000, 3);
        let wire = sealed(&mut out, &packet);
        assert_eq!(opened(&mut inbound, &wire), Ok(packet));
    }
}

#[test]
fn no_index_is_used_twice() {
    let (mut out, _) = pair(Suite::AesCm128HmacSha1_80);
    sealed(&mut out, &voice(1, 100, 3));
    let mut refuse = |packet: Vec<u8>| {
        let mut room = packet;
        room.resize(172 + GROWTH, 0);
        assert_eq!(out.rtp(&mut room, 172), None);
    };
    refuse(voice(1, 100, 4));
    refuse(voice(2, 101, 4));
    // Without room.
    let mut packet = voice(1, 101, 4);
    assert_eq!(out.rtp(&mut packet, 172), None);
}

#[test]
fn a_restart_begins_beyond_the_indices_used() {
    let index = |room: &[u8]| word(room, 28).unwrap() & !ENCRYPTED;
    let key = key(Suite::AesCm128HmacSha1_80, 7);
    let mut used = Vec::new();
    for start in [NOW, NOW + 9_000_000] {
        let mut out = Outbound::new(&key, start).unwrap();
        let mut sent = 0;
        for _ in 0..1000 {
            let mut room = report(1);
            room.resize(28 + GROWTH, 0);
            if out.rtcp(&mut room, 28, start).is_some() {
                used.push(index(&room));
                sent += 1;
            }
        }
        assert!((100..=200).contains(&sent), "{sent}");
    }
    assert!(used.is_sorted_by(|one, other| one < other));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn takes_no_garbage(mut bytes in prop::collection::vec(any::<u8>(), 0..200), suite in 0..6usize) {
        let (_, mut inbound) = pair(Suite::ALL[suite]);
        let before = bytes.clone();
        prop_assert!(inbound.rtp(&mut bytes).is_err());
        prop_assert!(inbound.rtcp(&mut bytes).is_err());
        prop_assert_eq!(bytes, before);
    }
}
