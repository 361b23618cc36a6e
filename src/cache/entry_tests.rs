use std::str::FromStr;

use hickory_proto::op::{
    Edns as HickoryEdns, Message, OpCode, Query as HickoryQuery, ResponseCode,
};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};

use super::*;
use crate::wire::{Edns, query::write_query};

const LIMITS: Limits = Limits {
    min_ttl: 0,
    max_ttl: 86_400,
    negative_max_ttl: 3600,
    stale: 1000,
    failure_ttl: 5,
};

fn ask(name: &str) -> Vec<u8> {
    let edns = Edns {
        payload: 1232,
        dnssec_ok: false,
    };
    write_query(
        0x4242,
        &Name::from_text(name).unwrap(),
        rtype::A,
        Some(edns),
    )
}

fn name(text: &str) -> HickoryName {
    HickoryName::from_str(text).unwrap()
}

fn response(to: &str, answers: Vec<Record>) -> Message {
    let mut message = Message::response(9, OpCode::Query);
    message.add_query(HickoryQuery::query(name(to), RecordType::A));
    message.add_answers(answers);
    message.set_edns(HickoryEdns::new());
    message
}

fn a(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A("192.0.2.1".parse().unwrap()))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.test."), name("host.test."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name("test."), ttl, RData::SOA(soa))
}

fn entry(message: &Message, limits: &Limits) -> Entry {
    let asked = ask("www.Shop.test");
    let query = Query::parse(&asked).unwrap();
    Entry::from_response(&message.to_vec().unwrap(), &query, limits, 100).unwrap()
}

fn served(entry: &Entry, now: u32) -> Message {
    let asked = ask("www.shop.test");
    let query = Query::parse(&asked).unwrap();
    let mut out = Vec::new();
    entry.write(&mut out, &query, now);
    assert_eq!(&out[12..26], b"\x03www\x04shop\x04test");
    Message::from_vec(&out).unwrap()
}

#[test]
fn ttls_count_down_and_the_client_gets_its_own_identifier() {
    let entry = entry(
        &response(
            "www.shop.test.",
            vec![
                Record::from_rdata(
                    name("www.shop.test."),
                    300,
                    RData::CNAME(CNAME(name("cdn.test."))),
                ),
                a("cdn.test.", 60),
            ],
        ),
        &LIMITS,
    );
    let mut targets = Vec::new();
    entry.each_target(|name| targets.push(name.to_string()));
    assert_eq!(targets, ["cdn.test"]);
    let message = served(&entry, 110);
    assert_eq!(message.metadata.id, 0x4242);
    assert_eq!(message.answers.len(), 2);
    assert_eq!(message.answers[0].ttl, 290);
    assert_eq!(message.answers[1].ttl, 50);
    assert_eq!(message.edns.unwrap().max_payload(), 1232);
    assert_eq!(entry.age(159), Age::Fresh);
    assert_eq!(entry.age(160), Age::Stale);
    assert_eq!(entry.age(1160), Age::Gone);
}

#[test]
fn rfc8767_4_stale_answers_get_30_seconds_and_ede_3() {
    let entry = entry(
        &response("www.shop.test.", vec![a("www.shop.test.", 60)]),
        &LIMITS,
    );
    let message = served(&entry, 500);
    assert_eq!(message.answers[0].ttl, 30);
    let options = message.edns.unwrap();
    assert!(options.options().as_ref().iter().any(|(code, option)| {
        u16::from(*code) == 15 && matches!(option, EdnsOption::Unknown(_, data) if data == &[0, 3])
    }));
}

#[test]
fn rfc2308_5_denials_live_as_the_soa_says() {
    let mut message = response("www.shop.test.", Vec::new());
    message.metadata.response_code = ResponseCode::NXDomain;
    message.add_authority(soa(900, 30));
    let denial = entry(&message, &LIMITS);
    assert_eq!(denial.kind, Kind::Negative);
    let message = served(&denial, 110);
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(message.authorities[0].ttl, 20);
    assert_eq!(denial.age(130), Age::Stale);
}

#[test]
fn an_alias_that_leads_nowhere_is_nodata() {
    let alias = Record::from_rdata(
        name("www.shop.test."),
        300,
        RData::CNAME(CNAME(name("x.test."))),
    );
    let mut message = response("www.shop.test.", vec![alias]);
    message.add_authority(soa(900, 600));
    assert_eq!(entry(&message, &LIMITS).kind, Kind::Negative);
}

#[test]
fn minimum_and_maximum_ttl() {
    let message = response("www.shop.test.", vec![a("www.shop.test.", 5)]);
    let limits = Limits {
        min_ttl: 60,
        ..LIMITS
    };
    assert_eq!(served(&entry(&message, &limits), 100).answers[0].ttl, 60);
    let message = response("www.shop.test.", vec![a("www.shop.test.", 500_000)]);
    assert_eq!(
        served(&entry(&message, &LIMITS), 100).answers[0].ttl,
        86_400
    );
}

#[test]
fn other_questions_and_broken_responses_are_refused() {
    let asked = ask("www.shop.test");
    let query = Query::parse(&asked).unwrap();
    let take = |bytes: &[u8]| Entry::from_response(bytes, &query, &LIMITS, 0).map(|_| ());
    let other = response("www.shoq.test.", vec![a("www.shoq.test.", 60)]);
    assert_eq!(
        take(&other.to_vec().unwrap()),
        Err(Uncacheable::OtherQuestion)
    );
    let mut cut = response("www.shop.test.", vec![]);
    cut.metadata.truncation = true;
    assert_eq!(take(&cut.to_vec().unwrap()), Err(Uncacheable::Truncated));
    let good = response("www.shop.test.", vec![a("www.shop.test.", 60)])
        .to_vec()
        .unwrap();
    for at in 12..good.len() {
        assert!(take(&good[..at]).is_err());
    }
}

#[test]
fn an_opt_record_in_the_middle_is_taken_out() {
    let mut message = response("www.shop.test.", vec![a("www.shop.test.", 60)]);
    message.add_additional(a("glue.test.", 77));
    let mut bytes = message.to_vec().unwrap();
    // hickory writes OPT last; move it before the glue record.
    let opt = bytes.split_off(bytes.len() - 11);
    let glue_at = {
        let mut at = 0;
        let mut with_opt = bytes.clone();
        with_opt.extend_from_slice(&opt);
        records::walk(&with_opt, |record| {
            if record.section == Section::Additional && record.record_type == rtype::A {
                at = record.start;
            }
        })
        .unwrap();
        at
    };
    bytes.splice(glue_at..glue_at, opt);
    let asked = ask("www.shop.test");
    let query = Query::parse(&asked).unwrap();
    let entry = Entry::from_response(&bytes, &query, &LIMITS, 100).unwrap();
    let message = served(&entry, 110);
    assert_eq!(message.additionals.len(), 1);
    assert_eq!(message.answers[0].ttl, 50);
    assert_eq!(message.additionals[0].ttl, 67);
}

#[test]
fn rfc9520_failures_are_marked_when_served_again() {
    let asked = ask("www.shop.test");
    let query = Query::parse(&asked).unwrap();
    let entry = Entry::failure(&query, ede::NO_REACHABLE_AUTHORITY, "x".to_owned(), 5, 100);
    let codes = |message: Message| -> Vec<Vec<u8>> {
        let edns = message.edns.unwrap();
        let options = edns.options().as_ref().iter();
        options
            .map(|(_, option)| match option {
                EdnsOption::Unknown(_, data) => data.clone(),
                _ => Vec::new(),
            })
            .collect()
    };
    let first = served(&entry, 100);
    assert_eq!(first.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(codes(first), [b"\x00\x16x".to_vec()]);
    assert_eq!(
        codes(served(&entry, 103)),
        [vec![0, 13], b"\x00\x16x".to_vec()]
    );
    assert_eq!(entry.age(105), Age::Gone);
}
