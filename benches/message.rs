//! The message layer beside `rsip`, in one run: an INVITE with SDP is parsed; parsed, read and written
//! again as a proxy would; and a MESSAGE answered.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use refork::sip::sdp::{Place, Rewrite, Sdp};
use refork::sip::{Builder, Message, Name, Uri};
use rsip::message::{HasHeaders, HeadersExt};
use rsip::prelude::*;

const INVITE: &str = "INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP pc33.atlanta.example.com:5060;branch=z9hG4bKnashds8;rport\r\n\
Via: SIP/2.0/UDP proxy1.atlanta.example.com:5060;branch=z9hG4bK77ef4c2312983.1\r\n\
Max-Forwards: 70\r\n\
Route: <sip:ss1.atlanta.example.com;lr>\r\n\
Record-Route: <sip:ss2.biloxi.example.com;lr>\r\n\
From: \"Alice Liddell\" <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
To: Bob <sip:bob@biloxi.example.com>\r\n\
Call-ID: a84b4c76e66710@pc33.atlanta.example.com\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:alice@pc33.atlanta.example.com:5060;transport=udp>\r\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, SUBSCRIBE, INFO, UPDATE\r\n\
Supported: replaces, timer, outbound, path, gruu\r\n\
Session-Expires: 1800;refresher=uac\r\n\
User-Agent: Phone/1.2.3 (a very good one)\r\n\
X-Correlation: 7f1c9d52-3c1e-4f0e-9b44-9a3c1f6a2b11\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 317\r\n\r\n\
v=0\r\n\
o=alice 2890844526 2890844526 IN IP4 192.0.2.101\r\n\
s=-\r\n\
c=IN IP4 192.0.2.101\r\n\
t=0 0\r\n\
m=audio 49172 RTP/AVP 0 8 9 96 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 useinbandfec=1\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n\
";

fn invite() -> Bytes {
    let (head, body) = INVITE.split_once("\r\n\r\n").unwrap();
    let head = head.replace(
        "Content-Length: 317",
        &format!("Content-Length: {}", body.len()),
    );
    Bytes::from(format!("{head}\r\n\r\n{body}"))
}

fn parse(bench: &mut Criterion) {
    let bytes = invite();
    let mut group = bench.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    group.bench_function("refork", |b| {
        b.iter(|| Message::parse(black_box(bytes.clone())).unwrap());
    });
    group.bench_function("rsip", |b| {
        b.iter(|| rsip::SipMessage::try_from(black_box(&bytes[..])).unwrap());
    });
    group.finish();
}

/// Parse, read what a hop must read, and write the message with a Via and a Call-ID of our own.
fn carry(bench: &mut Criterion) {
    let bytes = invite();
    let mut group = bench.benchmark_group("parse, read, write");
    group.throughput(Throughput::Elements(1));
    group.bench_function("refork", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(bytes.clone())).unwrap();
            let via = message.via();
            black_box((via.host, via.port, message.branch(), message.cseq()));
            black_box((
                message.from_tag(),
                message.to_tag(),
                message.contacts().is_ok(),
            ));
            black_box(Uri::parse(message.uri()).is_ok());
            let mut builder = Builder::request(message.method(), message.uri())
                .header(Name::Via, "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKours")
                .header(Name::CallId, "ours@192.0.2.9");
            for field in message.all() {
                match field.name {
                    Some(Name::Via | Name::CallId | Name::ContentLength | Name::ContentType) => {}
                    Some(_) | None => builder = builder.raw(&field),
                }
            }
            builder.body("application/sdp", message.body())
        });
    });
    group.bench_function("rsip", |b| {
        b.iter(|| {
            let mut message = rsip::SipMessage::try_from(black_box(&bytes[..])).unwrap();
            let via = message.via_header().unwrap().typed().unwrap();
            black_box((via.uri.host().to_string(), via.branch().is_some()));
            black_box(message.cseq_header().unwrap().typed().unwrap());
            black_box(message.from_header().unwrap().typed().unwrap());
            black_box(message.to_header().unwrap().typed().unwrap());
            black_box(message.contact_header().unwrap().typed().unwrap());
            message
                .headers_mut()
                .unique_push(rsip::headers::CallId::new("ours@192.0.2.9").into());
            message.headers_mut().unique_push(
                rsip::headers::Via::new("SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKours").into(),
            );
            Bytes::from(message)
        });
    });
    group.finish();
}

fn parts(bench: &mut Criterion) {
    let message = Message::parse(invite()).unwrap();
    let mut group = bench.benchmark_group("refork");
    group.throughput(Throughput::Elements(1));
    let source = ([192, 0, 2, 7], 5060).into();
    group.bench_function("respond", |b| {
        b.iter(|| Builder::respond(black_box(&message), 200, "OK", Some("tag"), source).end());
    });
    group.bench_function("rewrite SDP", |b| {
        let places = [Place::At(source)];
        b.iter(|| {
            Sdp::parse(black_box(message.body()))
                .unwrap()
                .rewrite(&Rewrite {
                    session: 1,
                    version: 2,
                    address: source.ip(),
                    keep_session_address: false,
                    covers: &[],
                    places: &places,
                    drop_ice: true,
                })
        });
    });
    group.finish();
}

criterion_group!(benches, parse, carry, parts);
criterion_main!(benches);
