//! The system calls that std, mio and socket2 do not have: the error queue, the limit on open
//! files. The only unsafe code of the relay.

#![expect(
    unsafe_code,
    reason = "IP_RECVERR, MSG_ERRQUEUE and setrlimit have no safe wrapper"
)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// Raises the soft limit on open files to the hard one, and returns it: every call has four sockets.
/// Where it can't be raised, the ports that can't be opened are refused one by one.
pub(crate) fn raise_file_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a whole rlimit that lives through the call.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 0;
        }
        let soft = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if soft < limit.rlim_max && libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            tracing::warn!(
                error = %io::Error::last_os_error(),
                "the limit on open files could not be raised"
            );
            limit.rlim_cur = soft;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Asks for ICMP errors of what a UDP socket sends (ip(7) `IP_RECVERR`): without it an unconnected
/// socket is never told.
pub(crate) fn report_icmp_errors(socket: &impl AsRawFd, v4: bool) -> io::Result<()> {
    let (level, option) = if v4 {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that lives through the call, with its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// One entry of a socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// Where the packet went that the error is about, as the ICMP message quotes it.
    pub(crate) destination: Option<SocketAddr>,
    /// Nobody listens there, or there is no such host; and the network says so, not our own kernel.
    pub(crate) unreachable: bool,
}

/// Room for one control message with an address, in words so that it is aligned.
type Control = [u64; 32];

/// Takes the next entry of a socket's error queue; none where it is empty.
pub(crate) fn next_error(socket: &impl AsRawFd) -> Option<QueuedError> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control: Control = [0; 32];
    let mut byte = [0u8; 1];
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: a msghdr of zeros is a valid empty one (it has private padding on some platforms).
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: every pointer of the message is to a local that outlives the call, with its size.
    let received = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut message,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if received < 0 {
        return None;
    }
    // SAFETY: zeroed before the call, so initialised whatever the kernel wrote; a sockaddr_storage
    // has no invalid values.
    let name = unsafe { name.assume_init() };
    let mut error = QueuedError {
        destination: (message.msg_namelen > 0).then(|| address(&name)).flatten(),
        unreachable: false,
    };
    // SAFETY: the message is the one that recvmsg filled, its control buffer still alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header within the buffer.
        let (level, kind, length) = unsafe {
            (
                (*header).cmsg_level,
                (*header).cmsg_type,
                (*header).cmsg_len,
            )
        };
        let ours = matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        // SAFETY: computes a size only.
        let whole = unsafe { libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as _) } as usize;
        if ours && length >= whole {
            // SAFETY: the control message is long enough for the structure; unaligned reads are
            // allowed for.
            let extended = unsafe {
                libc::CMSG_DATA(header)
                    .cast::<libc::sock_extended_err>()
                    .read_unaligned()
            };
            error.unreachable = is_unreachable(&extended);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Some(error)
}

fn is_unreachable(error: &libc::sock_extended_err) -> bool {
    let from_network = matches!(
        error.ee_origin,
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6
    );
    let code = error.ee_errno.cast_signed();
    from_network && matches!(code, libc::ECONNREFUSED | libc::EHOSTUNREACH)
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which fits in the storage and is
            // aligned no stricter.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some((ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some((ip, u16::from_be(v6.sin6_port)).into())
        }
        _ => None,
    }
}
