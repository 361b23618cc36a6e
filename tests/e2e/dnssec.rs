//! Validation as an option (RFC 4035): what is signed is proven, what is tampered with is refused.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_net::runtime::TokioRuntimeProvider;
use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::dnssec::{DnssecSigner, SigningKey};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};

use crate::common::client::{ask_with, edns, type_number};
use crate::common::{Taciturn, ask};
use taciturn::wire::{Edns, query::write_query};

fn name(text: &str) -> Name {
    Name::from_str(text).expect("a name")
}

fn new_key() -> (Box<dyn SigningKey>, DNSKEY) {
    let key = Ed25519SigningKey::generate_pkcs8().expect("a key");
    let key = Ed25519SigningKey::from_pkcs8(&key).expect("a key");
    let public = key.to_public_key().expect("a public key");
    (Box::new(key), DNSKEY::new(true, true, false, public))
}

/// A signed root zone with a few names; returns its server's address and key.
fn signed_root() -> (tokio::runtime::Runtime, std::net::SocketAddr, DNSKEY) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (key, dnskey) = new_key();
    let proof = Some(NxProofKind::Nsec);
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> = InMemoryZoneHandler::new(
        Name::root(),
        with_soa(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
        proof,
    )
    .expect("a zone");
    for (owner, address) in [("www.signed.", "192.0.2.5"), ("more.signed.", "192.0.2.6")] {
        let data = RData::A(address.parse().expect("an address"));
        zone.upsert_mut(Record::from_rdata(name(owner), 300, data), 0);
    }
    let lasts = Duration::from_secs(3600);
    let signer = DnssecSigner::new(dnskey.clone(), key, Name::root(), lasts);
    zone.add_zone_signing_key_mut(signer)
        .expect("to add the key");
    zone.secure_zone_mut().expect("to sign");
    let mut catalog = Catalog::new();
    catalog.upsert(Name::root().into(), vec![Arc::new(zone)]);
    let address = runtime.block_on(async {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a socket");
        let address = udp.local_addr().expect("an address");
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        tokio::spawn(async move { server.block_until_done().await });
        address
    });
    (runtime, address, dnskey)
}

fn with_soa() -> BTreeMap<hickory_proto::rr::RrKey, hickory_proto::rr::RecordSet> {
    let soa = SOA::new(name("ns."), name("host."), 1, 3600, 600, 86_400, 60);
    let mut set = hickory_proto::rr::RecordSet::new(Name::root(), RecordType::SOA, 1);
    set.insert(Record::from_rdata(Name::root(), 300, RData::SOA(soa)), 1);
    let key = hickory_proto::rr::RrKey::new(Name::root().into(), RecordType::SOA);
    BTreeMap::from([(key, set)])
}

fn anchor(server: &Taciturn, key: &DNSKEY) {
    let text = format!(". 3600 IN DNSKEY {key}\n");
    std::fs::write(server.folder.path().join("anchor.key"), text).expect("to write");
}

#[test]
fn what_is_signed_is_proven() {
    let (_runtime, address, key) = signed_root();
    let config = "upstream.dnssec = true\nupstream.trust_anchor = \"anchor.key\"";
    let mut server = Taciturn::prepare(address, config);
    anchor(&server, &key);
    server.run();
    let wants = Edns {
        dnssec_ok: true,
        ..edns()
    };
    let asked = taciturn::wire::Name::from_text("www.signed").expect("a name");
    let message = write_query(1, &asked, type_number("A"), Some(wants));
    let signed = ask_with(server.dns, &message).expect("an answer");
    assert_eq!(
        signed.rcode(),
        ResponseCode::NoError,
        "{:?}\n{}",
        signed.errors(),
        server.log()
    );
    assert!(signed.message.metadata.authentic_data);
    let types: Vec<_> = signed
        .message
        .answers
        .iter()
        .map(Record::record_type)
        .collect();
    assert!(
        types.contains(&RecordType::A) && types.contains(&RecordType::RRSIG),
        "{types:?}"
    );
    let plain = ask(server.dns, "more.signed", "A");
    assert_eq!(plain.data(), ["192.0.2.6"], "without DO no signatures");
    let denied = ask(server.dns, "none.signed", "A");
    assert_eq!(
        denied.rcode(),
        ResponseCode::NXDomain,
        "{:?}",
        denied.errors()
    );
}

#[test]
fn what_another_key_signed_is_refused() {
    let (_runtime, address, _) = signed_root();
    let config = "upstream.dnssec = true\nupstream.trust_anchor = \"anchor.key\"";
    let mut server = Taciturn::prepare(address, config);
    anchor(&server, &new_key().1);
    server.run();
    let refused = ask(server.dns, "www.signed", "A");
    assert_eq!(refused.rcode(), ResponseCode::ServFail);
    assert_eq!(refused.errors()[0].0, 6, "{:?}", refused.errors());
    // RFC 4035 section 3.2.2: a client that checks by itself gets it all the same.
    let asked = taciturn::wire::Name::from_text("www.signed").expect("a name");
    let mut message = write_query(1, &asked, type_number("A"), Some(edns()));
    message[3] |= 0x10;
    let unchecked = ask_with(server.dns, &message).expect("an answer");
    assert_eq!(unchecked.data(), ["192.0.2.5"]);
}
