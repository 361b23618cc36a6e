//! Many datagrams with one system call: `recvmmsg` and `sendmmsg`.
//!
//! An [`Inbox`] holds what one call received, an [`Outbox`] what the next one sends. Both own their memory and
//! keep it from call to call. The arrays of pointers that the kernel wants are made anew on the stack for
//! each call, which takes less time than one datagram's way through the kernel by two orders of magnitude,
//! so that no pointer outlives the borrow it was made from.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use libc::{c_int, c_void};

/// Datagrams that one call moves at most.
pub const BATCH: usize = 64;
/// Room for one datagram in bytes. Longer ones are cut short. Not a power of two, lest all rooms begin in
/// the same set of the processor's cache.
pub const ROOM: usize = 4096 + 64;
/// Room for the control message that says which of our addresses a datagram came to.
const CONTROL: usize = 64;

/// Who sent a datagram, and to which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The other side.
    pub client: SocketAddr,
    /// Our address, where the socket has more than one.
    pub ours: Option<IpAddr>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A blocking UDP socket that moves datagrams in batches.
#[derive(Debug)]
pub struct BatchSocket {
    socket: UdpSocket,
    /// The socket has all of the machine's addresses, so each datagram says which it came to.
    wildcard: bool,
    closed: AtomicBool,
}

/// Datagrams received by one call.
pub struct Inbox {
    rooms: Box<[[u8; ROOM]]>,
    ends: Vec<(Option<Ends>, usize)>,
}

/// Datagrams for one call to send.
pub struct Outbox {
    rooms: Vec<Vec<u8>>,
    ends: Vec<Ends>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            rooms: vec![[0; ROOM]; BATCH].into(),
            ends: Vec::with_capacity(BATCH),
        }
    }
}

impl Inbox {
    /// What the last call received. Datagrams without a readable sender are left out.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], Ends)> {
        let filled = self.ends.iter().zip(&self.rooms);
        filled.filter_map(|((ends, len), room)| Some((&room[..*len], (*ends)?)))
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            rooms: (0..BATCH).map(|_| Vec::with_capacity(ROOM)).collect(),
            ends: Vec::with_capacity(BATCH),
        }
    }
}

impl Outbox {
    /// The buffer of the next datagram; with [`add`](Self::add) it is in. `None` when the box is full.
    #[inline]
    pub fn room(&mut self) -> Option<&mut Vec<u8>> {
        self.rooms.get_mut(self.ends.len())
    }

    /// Adds the datagram in the [`room`](Self::room).
    #[inline]
    pub fn add(&mut self, ends: Ends) {
        if self.ends.len() < self.rooms.len() {
            self.ends.push(ends);
        }
    }

    /// How many datagrams are in.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl BatchSocket {
    /// Takes over a socket and makes it a blocking one.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        // A full device queue holds up one thread, and not for ever.
        socket.set_write_timeout(Some(Duration::from_millis(100)))?;
        let local = socket.local_addr()?;
        let wildcard = local.ip().is_unspecified();
        if wildcard {
            let (level, option) = match local {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            let on: c_int = 1;
            // SAFETY: `on` lives through the call, and its size is given.
            let done = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    level,
                    option,
                    (&raw const on).cast::<c_void>(),
                    mem::size_of::<c_int>() as libc::socklen_t,
                )
            };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            socket,
            wildcard,
            closed: AtomicBool::new(false),
        })
    }

    /// The socket's own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How long [`receive`](Self::receive) waits at most.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Whether [`close`](Self::close) was called.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Wakes the thread that waits in [`receive`](Self::receive) and makes it the last time. Sending goes on.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
        // SAFETY: takes no pointers. Linux says "not connected" here, and wakes the reader all the same.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_RD) };
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits for a datagram and takes all that are there, up to [`BATCH`]. Returns how many.
    ///
    /// # Errors
    ///
    /// What the system says; a signal or a time-out is one, too.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
        let mut parts = [const { EMPTY_PART }; BATCH];
        let mut headers = [const { EMPTY_HEADER }; BATCH];
        for at in 0..BATCH {
            parts[at] = libc::iovec {
                iov_base: inbox.rooms[at].as_mut_ptr().cast(),
                iov_len: ROOM,
            };
            let header = &mut headers[at].msg_hdr;
            header.msg_name = names[at].as_mut_ptr().cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
            if self.wildcard {
                header.msg_control = controls[at].as_mut_ptr().cast();
                header.msg_controllen = CONTROL as _;
            }
        }
        // SAFETY: every pointer in `headers` is to memory that lives through the call and is as long as the
        // header says; nothing else refers to that memory meanwhile.
        let received = unsafe {
            libc::recvmmsg(
                self.fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        inbox.ends.clear();
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        for (header, name) in headers.iter().zip(&names).take(received) {
            // SAFETY: the kernel wrote `msg_namelen` bytes of an address there.
            let client = unsafe { address(name.as_ptr(), header.msg_hdr.msg_namelen) };
            let ours = match self.wildcard {
                // SAFETY: the kernel filled the control buffer and set its length.
                true => unsafe { destination(&header.msg_hdr) },
                false => None,
            };
            let ends = client.map(|client| Ends { client, ours });
            inbox.ends.push((ends, (header.msg_len as usize).min(ROOM)));
        }
        Ok(received)
    }

    /// Sends what the box holds and empties it. A datagram that cannot be sent is lost, as datagrams may be.
    pub fn send(&self, outbox: &mut Outbox) {
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH];
        let mut parts = [const { EMPTY_PART }; BATCH];
        let mut headers = [const { EMPTY_HEADER }; BATCH];
        let count = outbox.ends.len().min(BATCH);
        for at in 0..count {
            let (ends, room) = (&outbox.ends[at], &outbox.rooms[at]);
            parts[at] = part_of(room);
            headers[at].msg_hdr =
                header_for(ends, &mut names[at], &mut controls[at], &raw mut parts[at]);
        }
        let mut sent = 0;
        while sent < count {
            let rest = &mut headers[sent..count];
            // SAFETY: as for receiving; the kernel only reads what the headers point to.
            let done = unsafe { libc::sendmmsg(self.fd(), rest.as_mut_ptr(), rest.len() as _, 0) };
            // Nothing sent: the first one cannot be, the others may.
            sent += usize::try_from(done).unwrap_or(1).max(1);
        }
        outbox.ends.clear();
    }

    /// Sends one datagram without waiting.
    pub fn send_one(&self, datagram: &[u8], ends: Ends) -> io::Result<()> {
        let mut name = MaybeUninit::uninit();
        let mut control = MaybeUninit::uninit();
        let mut part = part_of(datagram);
        let header = header_for(&ends, &mut name, &mut control, &raw mut part);
        // SAFETY: as for receiving; the kernel only reads what the header points to.
        let sent = unsafe { libc::sendmsg(self.fd(), &raw const header, libc::MSG_DONTWAIT) };
        match sent {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

const EMPTY_PART: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

// SAFETY: the C structure is made of integers and pointers, for which all zeros are a value.
const EMPTY_HEADER: libc::mmsghdr = unsafe { mem::zeroed() };

/// The kernel's word for a datagram that is to be sent, which it does not write to.
fn part_of(datagram: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: datagram.as_ptr().cast_mut().cast(),
        iov_len: datagram.len(),
    }
}

/// A header that sends `part` to the client, from the address that the client knows.
fn header_for(
    ends: &Ends,
    name: &mut MaybeUninit<libc::sockaddr_storage>,
    control: &mut MaybeUninit<Control>,
    part: *mut libc::iovec,
) -> libc::msghdr {
    let mut header = EMPTY_HEADER.msg_hdr;
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_namelen = write_address(ends.client, name);
    header.msg_name = name.as_mut_ptr().cast();
    if let Some(ours) = ends.ours {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = write_source(ours, control) as _;
    }
    header
}

/// Writes an address as the kernel has it; returns how many bytes it takes.
fn write_address(
    address: SocketAddr,
    to: &mut MaybeUninit<libc::sockaddr_storage>,
) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: raw_v4(*v4.ip()),
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough for any kind of address, and aligned for it.
            unsafe { to.as_mut_ptr().cast::<libc::sockaddr_in>().write(raw) };
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: raw_v6(*v6.ip()),
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { to.as_mut_ptr().cast::<libc::sockaddr_in6>().write(raw) };
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

fn raw_v4(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}

fn raw_v6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
    }
}

/// Reads an address that the kernel wrote.
///
/// # Safety
///
/// `len` bytes at `raw` are written, and `raw` is aligned for any kind of address.
unsafe fn address(raw: *const libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    if len < mem::size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: the family is the first field of every kind, and the caller says that it is written; each
    // kind is read only when it is all there.
    unsafe {
        match c_int::from((*raw).ss_family) {
            libc::AF_INET => {
                let raw = &*raw.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 if len >= mem::size_of::<libc::sockaddr_in6>() => {
                let raw = &*raw.cast::<libc::sockaddr_in6>();
                let address = SocketAddrV6::new(
                    raw.sin6_addr.s6_addr.into(),
                    u16::from_be(raw.sin6_port),
                    raw.sin6_flowinfo,
                    raw.sin6_scope_id,
                );
                Some(address.into())
            }
            _ => None,
        }
    }
}

/// Which of our addresses a datagram came to.
///
/// # Safety
///
/// The header's control buffer is as the kernel left it.
unsafe fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the macros stay within the buffer whose length the kernel set, and what they find is read
    // without asking for alignment.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => at = libc::CMSG_NXTHDR(header, at),
            }
        }
    }
    None
}

/// Writes the control message that makes a datagram leave from `ours`; returns how many bytes it takes.
fn write_source(ours: IpAddr, to: &mut MaybeUninit<Control>) -> usize {
    fn write<T>(to: &mut MaybeUninit<Control>, level: c_int, kind: c_int, info: T) -> usize {
        let size = mem::size_of::<T>() as libc::c_uint;
        to.write(Control([0; CONTROL]));
        let header = to.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `Control` is aligned for the header, and CONTROL bytes hold it and either kind of info.
        unsafe {
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(info);
            libc::CMSG_SPACE(size) as usize
        }
    }
    match ours {
        IpAddr::V4(v4) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: raw_v4(v4),
                ipi_addr: raw_v4(Ipv4Addr::UNSPECIFIED),
            };
            write(to, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(v6) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: raw_v6(v6),
                ipi6_ifindex: 0,
            };
            write(to, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(bound: &str, client: &str, to: &str) {
        let socket = BatchSocket::new(UdpSocket::bind(bound).unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let client = UdpSocket::bind(client).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        // Connected: what comes from another address than it sent to is not seen.
        client
            .connect((to.parse::<IpAddr>().unwrap(), port))
            .unwrap();
        for n in 0..10u8 {
            client.send(&vec![n; usize::from(n) * 20]).unwrap();
        }
        let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
        let mut seen = 0;
        while seen < 10 {
            seen += socket.receive(&mut inbox).unwrap();
            for (datagram, ends) in inbox.datagrams() {
                assert_eq!(ends.client, client.local_addr().unwrap());
                assert_eq!(
                    ends.ours.is_some(),
                    bound.contains("0.0.0.0") || bound.contains("[::]")
                );
                outbox.room().unwrap().extend_from_slice(datagram);
                outbox.add(ends);
            }
            let one = outbox.ends[0];
            socket.send(&mut outbox);
            assert!(outbox.is_empty());
            for room in &mut outbox.rooms {
                room.clear();
            }
            if seen == 10 {
                socket.send_one(b"one more", one).unwrap();
            }
        }
        let mut buffer = [0; 1000];
        for n in 0..10u8 {
            let len = client.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], vec![n; usize::from(n) * 20]);
        }
        let len = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"one more");
    }

    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        echo("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1");
        echo("0.0.0.0:0", "127.0.0.1:0", "127.0.0.9");
        if UdpSocket::bind("[::1]:0").is_ok() {
            echo("[::1]:0", "[::1]:0", "::1");
            echo("[::]:0", "[::1]:0", "::1");
        }
    }

    #[test]
    fn closing_wakes_the_reader() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::sync::Arc::new(BatchSocket::new(socket).unwrap());
        let reader = socket.clone();
        let reading = std::thread::spawn(move || {
            let mut inbox = Inbox::default();
            let _ = reader.receive(&mut inbox);
            inbox.datagrams().count()
        });
        std::thread::sleep(Duration::from_millis(50));
        socket.close();
        assert_eq!(reading.join().unwrap(), 0);
        assert!(socket.is_closed());
    }

    #[test]
    fn one_that_cannot_be_sent_does_not_hold_up_the_others() {
        let socket = BatchSocket::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut outbox = Outbox::default();
        let good = client.local_addr().unwrap();
        for client in [
            "0.0.0.0:0".parse().unwrap(),
            good,
            "0.0.0.0:0".parse().unwrap(),
            good,
        ] {
            outbox.room().unwrap().extend_from_slice(b"hello");
            outbox.add(Ends { client, ours: None });
        }
        socket.send(&mut outbox);
        let mut buffer = [0; 10];
        for _ in 0..2 {
            assert_eq!(client.recv(&mut buffer).unwrap(), 5);
        }
    }
}
