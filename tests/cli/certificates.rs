//! The running program takes up certificates that were renewed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};

use crate::authority::{Authority, Leaf};
use crate::running::{PATIENCE, Running};
use crate::write;

impl Running {
    fn connect(&self, authority: &Authority) -> Secured {
        let config = authority.client(None, &[&TLS13]);
        let name = "sip.example.org".try_into().unwrap();
        let socket = TcpStream::connect(self.at("tls")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut phone = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
        ask(&mut phone);
        phone
    }
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// Asks for the options of the server and reads the answer.
fn ask(phone: &mut Secured) {
    phone
        .write_all(
            b"OPTIONS sip:sip.example.org SIP/2.0\r\n\
              Via: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
              From: <sip:a@elsewhere.example>;tag=1\r\nTo: <sip:sip.example.org>\r\n\
              Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        )
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        phone.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"SIP/2.0 "), "{answer:?}");
}

fn certificate(phone: &Secured) -> Vec<u8> {
    phone.conn.peer_certificates().unwrap()[0].to_vec()
}

/// What is renewed by another name, as certbot and Kubernetes do it: a link that leads elsewhere at once.
fn lead(folder: &Path, link: &str, to: &Path) {
    let beside = folder.join("beside");
    symlink(to, &beside).unwrap();
    fs::rename(&beside, folder.join(link)).unwrap();
}

#[test]
fn certificates_are_renewed_by_a_signal_and_by_themselves() {
    let authority = Authority::new();
    let folder = authority.folder.path();
    let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let lay = |name: &str| -> Leaf {
        let leaf = authority.issue(&["sip.example.org"]);
        let pair = authority.keep(name, &leaf);
        for (link, file) in [("cert", &pair.certificate), ("key", &pair.key)] {
            // Whoever restores a file restores its time: that need not tell one from the other.
            File::options()
                .append(true)
                .open(file)
                .unwrap()
                .set_modified(begun)
                .unwrap();
            lead(folder, link, file);
        }
        leaf
    };
    let first = lay("first");
    let config = format!(
        "node: {{ data_dir: \"{}\", workers: 2 }}\n\
         listen: [\"udp://127.0.0.1:0\", \"tls://127.0.0.1:0\"]\n\
         tls: {{ certificate: cert, key: key }}\n\
         domains: {{ sip.example.org: {{ registrar: {{ auth: none }} }} }}\n\
         admin: {{ listen: 127.0.0.1:0 }}\n",
        folder.join("state").display()
    );
    let running = Running::start(&write(folder, "refork.yaml", &config));
    let mut old = running.connect(&authority);
    assert_eq!(certificate(&old), &*first.certificate);

    let by_signal = lay("second");
    running.hang_up();
    running.says("certificates were read again");
    let mut new = running.connect(&authority);
    assert_eq!(certificate(&new), &*by_signal.certificate);

    // Nobody has to say anything.
    let by_itself = lay("third");
    running.says("certificates were read again");
    let newer = running.connect(&authority);
    assert_eq!(certificate(&newer), &*by_itself.certificate);

    // Half a renewal is none, and the other half completes it.
    fs::write(folder.join("nonsense"), "nothing of the kind\n").unwrap();
    lead(folder, "key", &folder.join("nonsense"));
    running.hang_up();
    running.says("certificates stay as they were");
    assert_eq!(
        certificate(&running.connect(&authority)),
        &*by_itself.certificate
    );
    let mended = lay("fourth");
    running.says("certificates were read again");
    assert_eq!(
        certificate(&running.connect(&authority)),
        &*mended.certificate
    );

    for (standing, shown) in [(&mut old, &first), (&mut new, &by_signal)] {
        ask(standing);
        assert_eq!(certificate(standing), &*shown.certificate);
    }
}
