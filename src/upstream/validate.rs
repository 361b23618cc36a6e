//! DNSSEC validation (RFC 4035) before a pool, by hickory's validator.

use std::path::Path;
use std::sync::Arc;

use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::xfer::{DnsHandle, FirstAnswer};
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::{Message, ResponseCode};

use super::{Pool, Question, UpstreamError};

/// A pool whose answers are validated here.
#[derive(Clone)]
pub struct ValidatingPool {
    handle: DnssecDnsHandle<Pool>,
}

impl ValidatingPool {
    /// Validates what `pool` answers, from the keys in a file or the root's that are built in.
    ///
    /// # Errors
    ///
    /// A sentence that names the file.
    pub fn new(pool: Pool, anchor: Option<&Path>) -> Result<Self, String> {
        let anchors = match anchor {
            None => TrustAnchors::default(),
            Some(file) => {
                let bad =
                    |why: String| format!("[upstream] trust_anchor {}: {why}", file.display());
                let anchors =
                    TrustAnchors::from_file(file).map_err(|error| bad(error.to_string()))?;
                if anchors.is_empty() {
                    return Err(bad("holds no DNSKEY record".to_owned()));
                }
                anchors
            }
        };
        Ok(Self {
            handle: DnssecDnsHandle::with_trust_anchor(pool, Arc::new(anchors)),
        })
    }

    /// Asks, and validates. The AD bit says that every record was proven; a client that did not ask for
    /// DNSSEC records does not get them.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Bogus`] when a signature that has to be there is missing or wrong.
    pub async fn ask(&self, question: &Question) -> Result<Vec<u8>, UpstreamError> {
        let signed = Question {
            dnssec_ok: true,
            // The upstream is not to hide what we are to judge.
            checking_disabled: true,
            ..question.clone()
        };
        let outcome = self.handle.send(signed.request()).first_answer().await;
        let mut message = match outcome {
            Ok(response) => response.into_message(),
            Err(NetError::Dns(DnsError::Nsec {
                response, proof, ..
            })) => {
                if proof == Proof::Bogus {
                    return Err(UpstreamError::Bogus("a denial is not proven".to_owned()));
                }
                response.into_message()
            }
            Err(error) => {
                return Err(UpstreamError::Network {
                    server: "upstream".to_owned(),
                    reason: error.to_string(),
                });
            }
        };
        message.metadata.authentic_data = judge(&message)?;
        message.metadata.checking_disabled = question.checking_disabled;
        let message = message.maybe_strip_dnssec_records(question.dnssec_ok);
        message.to_vec().map_err(|error| UpstreamError::Network {
            server: "upstream".to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Whether all of a message is proven; an error when any of it is disproven.
fn judge(message: &Message) -> Result<bool, UpstreamError> {
    let records = || message.answers.iter().chain(&message.authorities);
    if let Some(bogus) = records().find(|record| record.proof == Proof::Bogus) {
        return Err(UpstreamError::Bogus(format!(
            "{} {} is not signed as it has to be",
            bogus.name,
            bogus.record_type()
        )));
    }
    let answered = matches!(
        message.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    Ok(answered && records().count() > 0 && records().all(|record| record.proof.is_secure()))
}
