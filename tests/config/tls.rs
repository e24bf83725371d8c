//! Certificates that can be used, and those that cannot.

use std::fs;
use std::path::Path;

use refork::config;
use refork::tls::ClientAuth;

/// Writes a certificate and its key.
pub(crate) fn write_pair(folder: &Path, certificate: &str, key: &str) {
    let made = rcgen::generate_simple_self_signed(["sip.example.org".to_owned()]).unwrap();
    fs::write(folder.join(certificate), made.cert.pem()).unwrap();
    fs::write(folder.join(key), made.signing_key.serialize_pem()).unwrap();
}

/// Writes a certificate that is good between these years, and its key.
fn write_between(folder: &Path, years: (i32, i32), name: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["sip.example.org".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let made = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_that_is_not_good_now_is_warned_of_with_its_date() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join("refork.yaml");
    for (years, said) in [
        ((2001, 2002), "ended on 2002-01-01T00:00:00Z"),
        ((2201, 2202), "is not good before 2201-01-01T00:00:00Z"),
        ((2001, 2202), ""),
    ] {
        write_between(folder, years, "a");
        let text = "listen: [\"tls://127.0.0.1:0\"]\ntls: { certificate: a.pem, key: a.key }\n";
        fs::write(&file, text).unwrap();
        let warnings = config::check(&file).unwrap().warnings;
        let told: Vec<_> = warnings.iter().filter(|w| w.starts_with("`tls`")).collect();
        match (said, &told[..]) {
            ("", []) => {}
            (said, [told]) => {
                assert!(told.contains(said) && told.contains("a.pem"), "{told}");
            }
            (_, told) => panic!("{said}: {told:?}"),
        }
        let tls = refork::tls::Tls::load(config::check(&file).unwrap().tls.unwrap()).unwrap();
        let end = if years.1 == 2002 {
            1_009_843_200
        } else {
            7_321_190_400
        };
        assert_eq!(tls.not_after(), end);
        assert_eq!(tls.doubts().is_empty(), said.is_empty());
    }
}

#[test]
fn files_are_looked_into_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pair(folder, "a.pem", "a.key");
    write_pair(folder, "b.pem", "b.key");
    fs::write(folder.join("text"), "no certificate\n").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(folder.join("broken.pem"), broken).unwrap();
    let file = folder.join("refork.yaml");
    let check = |tls: &str| {
        let text = format!("listen: [\"tls://127.0.0.1:0\"]\ntls: {{ {tls} }}\n");
        fs::write(&file, text).unwrap();
        config::check(&file)
    };
    let config = check(
        "certificate: a.pem, key: a.key, client_ca: b.pem, client_auth: optional, \
         more: [{ certificate: b.pem, key: b.key }]",
    );
    let tls = config.unwrap().tls.unwrap();
    assert_eq!(
        (tls.pairs.len(), tls.client_auth),
        (2, ClientAuth::Optional)
    );
    assert_eq!(
        tls.pairs[1].key,
        folder.join("b.key"),
        "relative to the file"
    );
    assert_eq!(tls.client_ca, Some(folder.join("b.pem")));
    for (tls, key, what) in [
        (
            "certificate: none.pem, key: a.key",
            "tls.certificate",
            "cannot be read",
        ),
        (
            "certificate: text, key: a.key",
            "tls.certificate",
            "holds no certificate",
        ),
        (
            "certificate: broken.pem, key: a.key",
            "tls.certificate",
            "cannot be read: ",
        ),
        (
            "certificate: a.pem, key: none.key",
            "tls.key",
            "cannot be read",
        ),
        (
            "certificate: a.pem, key: a.pem",
            "tls.key",
            "holds no private key",
        ),
        (
            "certificate: a.pem, key: b.key",
            "tls.key",
            "is not the key of",
        ),
        (
            "certificate: a.pem, key: a.key, more: [{ certificate: b.pem, key: a.key }]",
            "tls.more[0].key",
            "is not the key of",
        ),
        (
            "certificate: a.pem, key: a.key, client_ca: text",
            "tls.client_ca",
            "holds no certificate",
        ),
    ] {
        let errors = check(tls).unwrap_err();
        let [problem] = errors.problems() else {
            panic!("{tls}: {errors}");
        };
        assert_eq!(problem.key, key, "{errors}");
        assert!(problem.what.contains(what), "{errors}");
        assert!(problem.mend.is_some(), "{errors}");
    }
}
