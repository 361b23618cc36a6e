//! What taciturn proves its name with: a certificate and its key, from files or made here to try things out.

mod own;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use own::{OwnFiles, make_own};

/// The certificate that handshakes use now. Connections keep the one that they began with.
#[derive(Default)]
pub struct Current(ArcSwapOption<CertifiedKey>);

impl Current {
    /// The certificate, if there is one.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    /// Uses another from now on.
    pub fn set(&self, certificate: &Certificate) {
        self.0.store(Some(certificate.key.clone()));
    }
}

/// A certificate with its key, and what it says.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub ends: SystemTime,
}

/// Why a certificate cannot be used, and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or has nothing of the kind in it.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The two files do not belong together.
    #[error(
        "{} does not hold the key of the certificate in {}; name the two files that were issued together",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It has ended, or has not begun.
    #[error("{}: {reason}; renew it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        reason: String,
    },
    /// It is for other names.
    #[error(
        "{}: the certificate is for {}, not for {hostname}; a phone would refuse it",
        path.display(), names.join(", ")
    )]
    OtherName {
        /// The file.
        path: PathBuf,
        /// What it is for.
        names: Vec<String>,
        /// What is asked for.
        hostname: String,
    },
}

impl Certificate {
    /// Reads a certificate chain and its key, both PEM, and checks that `hostname` can be proved with them
    /// now.
    ///
    /// # Errors
    ///
    /// What is wrong, with the file's name and the mend.
    pub fn load(certificate: &Path, key: &Path, hostname: &str) -> Result<Self, CertificateError> {
        let file = |path: &Path, reason: String| CertificateError::File {
            path: path.to_owned(),
            reason,
        };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| file(path, format!("cannot be read: {error}")))
        };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read(certificate)?)
                .collect::<Result<_, _>>()
                .map_err(|error| file(certificate, format!("no PEM certificate: {error}")))?;
        let Some(first) = chain.first() else {
            return Err(file(
                certificate,
                "there is no PEM certificate in it".to_owned(),
            ));
        };
        let said = Said::read(first).map_err(|reason| file(certificate, reason))?;
        said.check(certificate, hostname)?;
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| file(key, format!("no PEM private key: {error}")))?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)
            .map_err(|error| file(key, format!("a key of no known kind: {error}")))?;
        let certified = CertifiedKey::new(chain, signing);
        if certified.keys_match().is_err() {
            return Err(CertificateError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        }
        Ok(Self {
            key: Arc::new(certified),
            names: said.names,
            ends: said.ends,
        })
    }

    /// Whether it proves a host name (RFC 9525 section 6.3: a star stands for the whole first label).
    pub fn covers(&self, hostname: &str) -> bool {
        covers(&self.names, hostname)
    }
}

fn covers(names: &[String], hostname: &str) -> bool {
    let hostname = hostname.trim_end_matches('.');
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => hostname
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(hostname),
    })
}

/// What a certificate says of itself.
struct Said {
    names: Vec<String>,
    begins: SystemTime,
    ends: SystemTime,
}

impl Said {
    fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
        });
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Ok(Self {
            names: names.collect(),
            begins: time(certificate.validity().not_before.timestamp()),
            ends: time(certificate.validity().not_after.timestamp()),
        })
    }

    fn check(&self, path: &Path, hostname: &str) -> Result<(), CertificateError> {
        let now = SystemTime::now();
        let when = |time: SystemTime| jiff::Timestamp::try_from(time).unwrap_or_default();
        let expired = |reason: String| CertificateError::Expired {
            path: path.to_owned(),
            reason,
        };
        if now > self.ends {
            return Err(expired(format!(
                "the certificate ended on {}",
                when(self.ends)
            )));
        }
        if now < self.begins {
            return Err(expired(format!(
                "the certificate begins on {}, by this machine's clock in the future",
                when(self.begins)
            )));
        }
        if !covers(&self.names, hostname) {
            return Err(CertificateError::OtherName {
                path: path.to_owned(),
                names: self.names.clone(),
                hostname: hostname.to_owned(),
            });
        }
        Ok(())
    }
}
