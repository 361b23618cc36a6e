//! A certificate authority of our own, to try things out without a domain. Phones do not trust it in strict
//! mode: Android takes only authorities that it ships with.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::Certificate;
use crate::files::{PRIVATE, PUBLIC, make_private_folder, replace};

/// How long before its end a certificate is made anew.
const AHEAD: Duration = Duration::from_secs(30 * 86_400);
/// How long a certificate of ours is good.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Clocks may differ by so much.
const SKEW: Duration = Duration::from_secs(86_400);

/// Where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFiles {
    /// The authority's certificate, for those who want to trust it.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl OwnFiles {
    /// The files in a data folder.
    pub fn new(data: &Path) -> Self {
        let folder = data.join("certificate");
        Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        }
    }
}

/// Makes an authority and a certificate for `hostname` and every name right below it, unless good ones are
/// there.
///
/// # Errors
///
/// A sentence, when the files cannot be written.
pub fn make_own(files: &OwnFiles, hostname: &str) -> Result<(), String> {
    let there = Certificate::load(&files.certificate, &files.key, hostname);
    let good = |there: &Certificate| {
        there.ends > SystemTime::now() + AHEAD && there.covers(&format!("a.{hostname}"))
    };
    if files.authority.exists() && there.is_ok_and(|there| good(&there)) {
        return Ok(());
    }
    let made = make(hostname).map_err(|error| format!("a certificate cannot be made: {error}"))?;
    let written = files
        .certificate
        .parent()
        .map_or(Ok(()), make_private_folder);
    let written = written
        .and_then(|()| replace(&files.authority, made.authority.as_bytes(), PUBLIC))
        .and_then(|()| replace(&files.certificate, made.certificate.as_bytes(), PUBLIC))
        .and_then(|()| replace(&files.key, made.key.as_bytes(), PRIVATE));
    written.map_err(|error| format!("{}: {error}", files.certificate.display()))
}

struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn make(hostname: &str) -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::default();
    let name = format!("taciturn's own authority for {hostname}");
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    (authority.not_before, authority.not_after) = ((now - SKEW).into(), (now + LIFETIME).into());
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let names = vec![hostname.to_owned(), format!("*.{hostname}")];
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, hostname);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = ((now - SKEW).into(), (now + LIFETIME).into());
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Made {
        authority: issuer.pem(),
        certificate: certificate.pem() + &issuer.pem(),
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::CertificateError;
    use super::*;

    #[test]
    fn made_once_and_for_every_device() {
        let data = tempfile::tempdir().unwrap();
        let files = OwnFiles::new(data.path());
        make_own(&files, "dns.test").unwrap();
        let first = std::fs::read(&files.key).unwrap();
        make_own(&files, "dns.test").unwrap();
        assert_eq!(std::fs::read(&files.key).unwrap(), first);
        let made = Certificate::load(&files.certificate, &files.key, "dns.test").unwrap();
        assert!(made.covers("phone-x.dns.test") && !made.covers("a.b.dns.test"));
        make_own(&files, "other.test").unwrap();
        assert_ne!(std::fs::read(&files.key).unwrap(), first);
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn bad_files_are_named_with_the_mend() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (files, others) = (OwnFiles::new(one.path()), OwnFiles::new(other.path()));
        make_own(&files, "dns.test").unwrap();
        make_own(&others, "dns.test").unwrap();
        let load = |certificate: &Path, key: &Path, name: &str| {
            Certificate::load(certificate, key, name).err().unwrap()
        };
        let mismatch = load(&files.certificate, &others.key, "dns.test");
        assert!(matches!(mismatch, CertificateError::Mismatch { .. }));
        let other_name = load(&files.certificate, &files.key, "dns.example");
        assert!(
            other_name
                .to_string()
                .contains("is for dns.test, *.dns.test, not for dns.example")
        );
        let no_key = load(&files.certificate, &files.certificate, "dns.test");
        assert!(
            no_key.to_string().contains("no PEM private key"),
            "{no_key}"
        );
        let nothing = load(Path::new("/nowhere/cert.pem"), &files.key, "dns.test");
        assert!(
            nothing.to_string().starts_with("/nowhere/cert.pem: "),
            "{nothing}"
        );
    }
}
