//! As much of rtnetlink(7) as moving a network device takes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Number 0, which sockets take by default.
const NETLINK_ROUTE: Option<rustix::net::Protocol> = None;
// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_NEW: u16 = 0x600;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const GET_LINK: u16 = 18;
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE_FD: u16 = 28;
const ADDRESS_FLAGS: u16 = 8;
const ADDRESS_CACHE: u16 = 6;
const ADDRESS_LABEL: u16 = 3;
const PERMANENT: u32 = 0x80;
const SCOPE_UNIVERSE: u8 = 0;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel makes answers no longer than this (`NLMSG_GOODSIZE` at most).
const ANSWER_MAX: usize = 32 * 1024;

/// A socket in the network namespace that it was made in.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// An address of a device, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    /// All that is not about the device it was on.
    attributes: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        Ok(Netlink(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, NETLINK_ROUTE)?))
    }

    /// The number of the device of that name.
    pub(super) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.0, name)?)
    }

    /// Whether a device is switched on.
    pub(super) fn is_up(&self, index: u32) -> io::Result<bool> {
        let answers = self.ask(GET_LINK, REQUEST | ACK, &link(index, 0, 0))?;
        // The flags are the third word of `struct ifinfomsg`.
        let flags = answers.first().and_then(|body| body.get(8..12)?.try_into().ok()).map(u32::from_ne_bytes);
        Ok(flags.unwrap_or(0) & libc::IFF_UP as u32 != 0)
    }

    /// Switches a device on or off.
    pub(super) fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        let up = if up { libc::IFF_UP as u32 } else { 0 };
        self.ask(NEW_LINK, REQUEST | ACK, &link(index, up, libc::IFF_UP as u32)).map(drop)
    }

    /// Moves a device to another network namespace and gives it its name there, both at once.
    pub(super) fn give_away(&self, index: u32, name: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut body = link(index, 0, 0);
        attribute(&mut body, LINK_NAME, &[name.as_bytes(), b"\0"].concat());
        attribute(&mut body, LINK_NAMESPACE_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.ask(NEW_LINK, REQUEST | ACK, &body).map(drop)
    }

    /// Those addresses of a device that somebody has set for good and that mean the same elsewhere.
    pub(super) fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        let answers = self.ask(GET_ADDRESS, REQUEST | DUMP, &[0; 8])?;
        Ok(answers.iter().filter_map(|body| address(body, index)).collect())
    }

    /// Gives a device an address.
    pub(super) fn add(&self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0, SCOPE_UNIVERSE];
        body.extend(index.to_ne_bytes());
        body.extend(&address.attributes);
        self.ask(NEW_ADDRESS, REQUEST | ACK | CREATE_NEW, &body).map(drop)
    }

    /// Sends a request and collects what is answered.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        // One question at a time: neither needs a number to be told from others.
        message.extend([0; 8]);
        message.extend(body);
        sendto(&self.0, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answers = Vec::new();
        loop {
            let mut buffer = vec![0; ANSWER_MAX];
            let (length, _) = rustix::io::retry_on_intr(|| recv(&self.0, &mut buffer, RecvFlags::empty()))?;
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    ERROR => return error(body).map(|()| answers),
                    DONE => return Ok(answers),
                    _ => answers.push(body.to_vec()),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct ifinfomsg`
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, change] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// Everything is aligned to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// The kind and body of each message of a packet.
fn messages(packet: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The number of an error message is negative; 0 says that all went well.
fn error(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(Errno::PROTO.into()),
    }
}

/// Reads a `struct ifaddrmsg` with its attributes; none when it is of another device or means nothing elsewhere.
fn address(body: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = *body.first_chunk()?;
    let of = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let mut flags = u32::from(flags);
    let mut kept = Vec::new();
    let mut rest = &body[8..];
    while let Some(head) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(4..length)?;
        match kind {
            // All of them; the byte in the structure has only room for the oldest.
            ADDRESS_FLAGS => flags = u32::from_ne_bytes(value.try_into().ok()?),
            // Life times, which are for ever, and the name of the device, which may change.
            ADDRESS_CACHE | ADDRESS_LABEL => {}
            _ => attribute(&mut kept, kind, value),
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    let wanted = of == index && flags & PERMANENT != 0 && scope == SCOPE_UNIVERSE;
    wanted.then_some(Address { family, prefix, attributes: kept })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loopback_device_is_found_and_its_address_is_not_for_elsewhere() {
        let netlink = Netlink::open().unwrap();
        let index = netlink.index("lo").unwrap();
        assert_eq!(netlink.addresses(index).unwrap(), []);
        assert_eq!(netlink.index("nosuchdevice").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn addresses_lose_what_is_about_their_device() {
        let mut body = vec![2, 24, 0x80, 0, 7, 0, 0, 0];
        attribute(&mut body, 2, &[10, 0, 0, 1]);
        let alone = body[8..].to_vec();
        attribute(&mut body, ADDRESS_LABEL, b"eth0\0");
        attribute(&mut body, ADDRESS_FLAGS, &0x80u32.to_ne_bytes());
        assert_eq!(address(&body, 7), Some(Address { family: 2, prefix: 24, attributes: alone }));
        assert_eq!(address(&body, 8), None);
        body[3] = 253;
        assert_eq!(address(&body, 7), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = address(&bytes, 1);
            for (_, body) in messages(&bytes).take(100) {
                let _any = (address(body, 1), error(body));
            }
        }
    }
}
