//! The letters of HTTP: which bytes a token or a host may have.

use memchr::memchr;

/// `host [":" port]` without user information (RFC 3986, section 3.2).
pub(crate) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.first() {
        Some(b'[') => {
            let Some(end) = memchr(b']', value) else { return false };
            let inside = &value[1..end];
            let fits = inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            if !fits || inside.is_empty() {
                return false;
            }
            (&value[..=end], &value[end + 1..])
        }
        Some(_) => {
            let end = memchr(b':', value).unwrap_or(value.len());
            if !value[..end].iter().all(|&b| is_host_byte(b)) {
                return false;
            }
            value.split_at(end)
        }
        None => return false,
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && port_fits
}

fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%');
        byte += 1;
    }
    table
};

/// A byte of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
