//! An upstream server in this process, carried by hickory-server: a zone of made-up names whose first label
//! may say how to behave.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_net::runtime::Time;
use hickory_proto::op::{Edns, Metadata, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, CNAME, HTTPS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

/// What the upstream is told to do, and what it saw.
#[derive(Default)]
pub struct State {
    /// Says nothing to anybody.
    pub silent: AtomicBool,
    /// Answers SERVFAIL.
    pub failing: AtomicBool,
    /// Milliseconds before each answer.
    pub delay: AtomicUsize,
    /// Queries seen.
    pub queries: AtomicUsize,
    /// Queries by name.
    pub by_name: Mutex<HashMap<String, usize>>,
    /// Records by name and type, besides those made up.
    pub records: Mutex<HashMap<(String, RecordType), Vec<Record>>>,
    /// The TTL of made-up records.
    pub ttl: AtomicUsize,
}

/// A running upstream.
pub struct Upstream {
    pub address: SocketAddr,
    pub state: Arc<State>,
    _runtime: tokio::runtime::Runtime,
}

impl Upstream {
    /// Serves over UDP and TCP.
    pub fn start() -> Self {
        Self::with(|server, state| {
            let _ = (server, state);
        })
    }

    /// Serves over UDP and TCP and whatever `register` adds; that runs inside the runtime.
    pub fn with(register: impl FnOnce(&mut Server<Handler>, &Arc<State>) + Send) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let state = Arc::new(State::default());
        state.ttl.store(300, Relaxed);
        let handler = Handler(state.clone());
        let _inside = runtime.enter();
        let (udp, tcp, address) = runtime.block_on(async {
            loop {
                let udp = tokio::net::UdpSocket::bind("127.0.0.1:0")
                    .await
                    .expect("a socket");
                let address = udp.local_addr().expect("an address");
                // The same port may be taken for TCP; then another one.
                if let Ok(tcp) = tokio::net::TcpListener::bind(address).await {
                    return (udp, tcp, address);
                }
            }
        });
        let mut server = Server::new(handler);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(30), 64);
        register(&mut server, &state);
        runtime.spawn(async move { server.block_until_done().await });
        drop(_inside);
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        let by_name = self.state.by_name.lock().expect("the counts");
        by_name.get(&format!("{name}.")).copied().unwrap_or(0)
    }

    /// Adds a CNAME record.
    pub fn alias(&self, name: &str, target: &str) {
        let data = RData::CNAME(CNAME(fqdn(target)));
        self.add(name, RecordType::CNAME, data);
    }

    /// Adds an HTTPS record that points to `target`.
    pub fn https(&self, name: &str, target: &str) {
        let data = RData::HTTPS(HTTPS(SVCB::new(1, fqdn(target), Vec::new())));
        self.add(name, RecordType::HTTPS, data);
    }

    /// Adds an HTTPS record of the name itself, with the address that clients may connect to at once.
    pub fn https_hint(&self, name: &str, address: &str) {
        let hint = IpHint(vec![A(address.parse().expect("an IPv4 address"))]);
        let parameters = vec![(SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(hint))];
        let data = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters)));
        self.add(name, RecordType::HTTPS, data);
    }

    /// Adds an address record.
    pub fn address(&self, name: &str, address: &str) {
        let data = RData::A(A(address.parse().expect("an IPv4 address")));
        self.add(name, RecordType::A, data);
    }

    fn add(&self, name: &str, kind: RecordType, data: RData) {
        let ttl = self.state.ttl.load(Relaxed) as u32;
        let record = Record::from_rdata(fqdn(name), ttl, data);
        let mut records = self.state.records.lock().expect("the records");
        records
            .entry((format!("{name}."), kind))
            .or_default()
            .push(record);
    }
}

fn fqdn(text: &str) -> Name {
    Name::from_str(&format!("{}.", text.trim_end_matches('.'))).expect("a name")
}

pub struct Handler(Arc<State>);

/// What to answer: code, answer records, whether an SOA goes with it, EDE code.
struct Reply(ResponseCode, Vec<Record>, bool, Option<u16>);

impl Handler {
    /// The made-up zone: `nx…` does not exist, `empty…` has no records, `big…` has many, `ede…` comes with
    /// an extended error; everything else is at 192.0.2.1.
    fn answer(&self, name: &str, kind: RecordType) -> Reply {
        let ttl = self.0.ttl.load(Relaxed) as u32;
        let records = self.0.records.lock().expect("the records");
        if let Some(found) = records.get(&(name.to_owned(), kind)) {
            return Reply(ResponseCode::NoError, found.clone(), false, None);
        }
        if let Some(alias) = records.get(&(name.to_owned(), RecordType::CNAME)) {
            let mut chain = alias.clone();
            while let Some(RData::CNAME(target)) = chain.last().map(|record| record.data.clone()) {
                let target = target.0.to_string();
                match records.get(&(target.clone(), RecordType::CNAME)) {
                    Some(next) => chain.extend(next.clone()),
                    None => {
                        let found = records.get(&(target.clone(), kind)).cloned();
                        chain.extend(found.unwrap_or_else(|| vec![made_up(&target, kind, ttl)]));
                        break;
                    }
                }
            }
            return Reply(ResponseCode::NoError, chain, false, None);
        }
        if name.starts_with("nx") {
            return Reply(ResponseCode::NXDomain, Vec::new(), true, None);
        }
        if name.starts_with("empty")
            || !matches!(kind, RecordType::A | RecordType::AAAA | RecordType::TXT)
        {
            return Reply(ResponseCode::NoError, Vec::new(), true, None);
        }
        if name.starts_with("big") {
            let text = |n: usize| RData::TXT(TXT::new(vec![format!("{n}-{}", "x".repeat(200))]));
            let many = (0..40).map(|n| Record::from_rdata(fqdn(name), ttl, text(n)));
            return Reply(ResponseCode::NoError, many.collect(), false, None);
        }
        let error = name.starts_with("ede").then_some(29);
        Reply(
            ResponseCode::NoError,
            vec![made_up(name, kind, ttl)],
            false,
            error,
        )
    }
}

fn made_up(name: &str, kind: RecordType, ttl: u32) -> Record {
    let data = match kind {
        RecordType::AAAA => RData::AAAA("2001:db8::1".parse().expect("an address")),
        RecordType::TXT => RData::TXT(TXT::new(vec!["made up".to_owned()])),
        _ => RData::A("192.0.2.1".parse().expect("an address")),
    };
    Record::from_rdata(fqdn(name), ttl, data)
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let state = &self.0;
        let asked = request.queries.queries()[0].clone();
        let name = asked.name().to_string().to_lowercase();
        state.queries.fetch_add(1, Relaxed);
        *state
            .by_name
            .lock()
            .expect("the counts")
            .entry(name.clone())
            .or_default() += 1;
        if state.silent.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        let mut delay = state.delay.load(Relaxed) as u64;
        if let Some(rest) = name.strip_prefix("slow") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            delay += digits.parse::<u64>().unwrap_or(0);
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let Reply(code, answers, denied, error) = if state.failing.load(Relaxed) {
            Reply(ResponseCode::ServFail, Vec::new(), false, None)
        } else {
            self.answer(&name, asked.query_type())
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        metadata.recursion_available = true;
        metadata.authentic_data = name.starts_with("signed");
        let soa = SOA::new(
            fqdn("ns.example"),
            fqdn("host.example"),
            1,
            3600,
            600,
            86_400,
            60,
        );
        let soa = Record::from_rdata(fqdn("example"), 120, RData::SOA(soa));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        if let Some(code) = error {
            let mut data = u16::to_be_bytes(code).to_vec();
            data.extend_from_slice(b"synthesized");
            edns.options_mut().insert(EdnsOption::Unknown(15, data));
        }
        let mut builder = MessageResponseBuilder::from_message_request(request);
        builder.edns(&edns);
        let soa = denied.then_some(&soa);
        let response = builder.build(metadata, &answers, [], soa, []);
        response_handle
            .send_response(response)
            .await
            .unwrap_or_else(|_| {
                let header = hickory_proto::op::Header {
                    metadata,
                    counts: hickory_proto::op::HeaderCounts::default(),
                };
                ResponseInfo::from(header)
            })
    }
}
