//! The system calls that std, mio and socket2 do not have: batches of datagrams, the error queue,
//! the limit on open files. The only unsafe code of the relay.

#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg, MSG_ERRQUEUE and setrlimit have no safe wrapper"
)]

/// Raises the soft limit on open files to the hard one: every call has four sockets.
/// Where it can't be raised, the ports that can't be opened are refused one by one.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a whole rlimit that lives through the call.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max
        {
            limit.rlim_cur = limit.rlim_max;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
                tracing::warn!(
                    error = %std::io::Error::last_os_error(),
                    "the limit on open files could not be raised"
                );
            }
        }
    }
}
