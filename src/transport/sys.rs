//! The system calls that std, mio and socket2 do not have: batches of datagrams and the error queue.
//! The only unsafe code of the SIP sockets.

#![expect(
    unsafe_code,
    reason = "recvmmsg, MSG_ERRQUEUE and IP_RECVERR have no safe wrapper"
)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams taken by one call.
pub(super) const BATCH: usize = 32;
/// Room for the control messages of one error: an extended error and the address of its sender.
const CONTROL_BYTES: usize = 512;
/// RFC 792: destination unreachable, and which of its codes say that nobody is there.
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_NOBODY: [u8; 3] = [1, 2, 3];
/// RFC 4443 3.1, likewise: address unreachable, port unreachable.
const ICMP6_UNREACHABLE: u8 = 1;
const ICMP6_NOBODY: [u8; 2] = [3, 4];

/// One datagram of a batch: where it lies in the buffer, and from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) peer: Option<SocketAddr>,
    pub(super) len: usize,
    /// Larger than its place: the rest is lost.
    pub(super) truncated: bool,
}

/// One entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuedError {
    /// Nobody is there, says ICMP of something sent to this address.
    Nobody(SocketAddr),
    /// Another kind, such as a hop limit exceeded or a path's packet size.
    Other,
}

/// Asks the kernel to keep ICMP errors, with what they quote, on the socket's error queue.
pub(super) fn report_errors(socket: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, name) = if v6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR)
    };
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a whole c_int that lives through the call, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes up to `BATCH` datagrams without waiting. Datagram `i` lies at `i * size` of the buffer, which
/// has `BATCH * size` bytes.
pub(super) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    size: usize,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    arrived.clear();
    // SAFETY: all three are plain C structs for which zeroes are valid.
    let (mut names, mut parts, mut headers) = unsafe {
        (
            zeroed::<[libc::sockaddr_storage; BATCH]>(),
            zeroed::<[libc::iovec; BATCH]>(),
            zeroed::<[libc::mmsghdr; BATCH]>(),
        )
    };
    let mut places = 0;
    for (((place, name), part), header) in buffer
        .chunks_exact_mut(size)
        .zip(&mut names)
        .zip(&mut parts)
        .zip(&mut headers)
    {
        part.iov_base = place.as_mut_ptr().cast();
        part.iov_len = place.len();
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        places += 1;
    }
    // SAFETY: the first `places` headers point to names, parts and chunks of the buffer that live
    // through the call and overlap nowhere.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            places,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    arrived.extend(
        headers
            .iter()
            .zip(&names)
            .take(count as usize)
            .map(|(header, name)| Arrived {
                peer: address(name),
                len: (header.msg_len as usize).min(size),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            }),
    );
    Ok(())
}

/// Takes one entry off the error queue; none where it is empty.
pub(super) fn next_error(socket: impl AsFd) -> Option<QueuedError> {
    #[repr(align(8))]
    struct Control([u8; CONTROL_BYTES]);
    let mut control = Control([0; CONTROL_BYTES]);
    let mut quoted = [0_u8; 64];
    // SAFETY: plain C structs for which zeroes are valid.
    let (mut name, mut header) =
        unsafe { (zeroed::<libc::sockaddr_storage>(), zeroed::<libc::msghdr>()) };
    let mut part = libc::iovec {
        iov_base: quoted.as_mut_ptr().cast(),
        iov_len: quoted.len(),
    };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to a name, a part and a control buffer that live through the call.
    let result = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    if result < 0 {
        return None;
    }
    let Some(error) = extended_error(&header) else {
        return Some(QueuedError::Other);
    };
    let nobody = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => {
            error.ee_type == ICMP_UNREACHABLE && ICMP_NOBODY.contains(&error.ee_code)
        }
        libc::SO_EE_ORIGIN_ICMP6 => {
            error.ee_type == ICMP6_UNREACHABLE && ICMP6_NOBODY.contains(&error.ee_code)
        }
        _ => false,
    };
    Some(match address(&name) {
        Some(peer) if nobody => QueuedError::Nobody(peer),
        Some(_) | None => QueuedError::Other,
    })
}

fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the header was filled in by recvmsg and its control buffer still lives; CMSG_NXTHDR
    // stays within it. The data may lie unaligned.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let is_error = matches!(
                ((*control).cmsg_level, (*control).cmsg_type),
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
            );
            if is_error {
                let data = libc::CMSG_DATA(control).cast::<libc::sock_extended_err>();
                return Some(data.read_unaligned());
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct it is, and the storage is large and aligned enough.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}
