//! Heads that pass and heads that are refused.

use super::super::lines::LineEnds;
use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, count: 10, line_ends: LineEnds::Strict };

/// Reads heads and bodies until there is no more, or something is refused.
fn read(reading: &mut Reading) -> Option<WireRefusal> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    loop {
        let step = if reading.body_is_over() {
            reading.next_head(&mut parts).map(|head| head.is_some())
        } else {
            reading.step().map(|step| !matches!(step, Step::Missing))
        };
        match step {
            Ok(true) => {}
            Ok(false) => return None,
            Err(refusal) => return Some(refusal),
        }
    }
}

/// Feeds the bytes whole and one by one; both must agree. Returns how many were read as complete parts of messages.
fn verdict(bytes: &[u8]) -> (usize, [Option<WireRefusal>; 2]) {
    let mut whole = Reading::new(Input::starting_with(bytes), LIMITS);
    let refused = read(&mut whole);
    let mut slow = Reading::new(Input::new(), LIMITS);
    let refused_slow = bytes.iter().find_map(|byte| {
        slow.input.push(&[*byte]);
        read(&mut slow)
    });
    // Of several mistakes the first one that shows is told, and in pieces another may show first.
    let agree = refused_slow.is_some() == refused.is_some();
    assert!(
        agree,
        "in pieces {refused_slow:?}, whole {refused:?}: {:?}",
        String::from_utf8_lossy(bytes)
    );
    if refused.is_none() {
        let left = |reading: &Reading| reading.input.bytes().to_vec();
        assert_eq!(left(&slow), left(&whole), "in pieces: {:?}", String::from_utf8_lossy(bytes));
    }
    (bytes.len() - whole.input.bytes().len(), [refused, refused_slow])
}

/// The one mistake of a request, which is the same whole and in pieces.
fn refused(request: &str) -> Option<WireRefusal> {
    let [whole, in_pieces] = verdict(request.as_bytes()).1;
    assert_eq!(whole, in_pieces, "{request:?}");
    whole
}

fn passes(request: &str) {
    assert_eq!(verdict(request.as_bytes()), (request.len(), [None; 2]), "{request:?}");
}

#[test]
fn ordinary_requests_pass() {
    passes("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    passes("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    passes("GET /a?b=c HTTP/1.1\r\nhOsT: a.example:8080\r\nAccept: */*\r\nX:\r\n\r\n");
    passes("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    passes("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    passes("GET / HTTP/1.0\r\n\r\n");
    passes(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    passes(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    passes(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    passes(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n00\r\nX: y\r\n\r\n",
    );
}

#[test]
fn ambiguous_heads_are_refused() {
    use WireRefusal as R;
    let host = "Host: a\r\n";
    for (request, reason) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), R::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(), R::BareLf),
        (format!("GET / HTTP/1.1\r\n{host}A: b\rC: d\r\n\r\n"), R::BareCr),
        (format!("GET / HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n"), R::ObsFold),
        (format!("GET / HTTP/1.1\r\n {host}\r\n"), R::ObsFold),
        (format!("GET / HTTP/1.1\r\n{host}A : b\r\n\r\n"), R::SpaceBeforeColon),
        (format!("GET / HTTP/1.1\r\n{host}A\r\n\r\n"), R::FieldName),
        (format!("GET / HTTP/1.1\r\n{host}: b\r\n\r\n"), R::FieldName),
        (format!("GET / HTTP/1.1\r\n{host}A(: b\r\n\r\n"), R::FieldName),
        (format!("GET / HTTP/1.1\r\n{host}A: \0\r\n\r\n"), R::FieldValue),
        (format!("GET / HTTP/1.1\r\n{host}A: \x7f\r\n\r\n"), R::FieldValue),
        (format!("GET  / HTTP/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("GET /\t HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET / HTTP/1.1 \r\n{host}\r\n"), R::RequestLine),
        (format!(" GET / HTTP/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("G(T / HTTP/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("\r\n\r\nGET / HTTP/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("GET /a b HTTP/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("GET /\u{e4} HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET /a#b HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET * HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET a HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET ftp://a/ HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET http:///x HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET http://u@a/x HTTP/1.1\r\n{host}\r\n"), R::Target),
        (format!("GET / HTTP/2.0\r\n{host}\r\n"), R::Version),
        (format!("GET / HTTP/1.2\r\n{host}\r\n"), R::Version),
        (format!("GET / http/1.1\r\n{host}\r\n"), R::RequestLine),
        (format!("CONNECT a:443 HTTP/1.1\r\n{host}\r\n"), R::Connect),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n".to_owned(), R::Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_owned(), R::Host),
    ] {
        assert_eq!(refused(&request), Some(reason), "{request:?}");
    }
}

#[test]
fn ambiguous_lengths_are_refused() {
    use WireRefusal as R;
    for (fields, reason) in [
        ("Content-Length: 1\r\nContent-Length: 2", R::ContentLength),
        ("Content-Length: 1\r\nContent-Length: 1", R::ContentLength),
        ("Content-Length: 1, 1", R::ContentLength),
        ("Content-Length: +1", R::ContentLength),
        ("Content-Length: -1", R::ContentLength),
        ("Content-Length: 0x1", R::ContentLength),
        ("Content-Length:", R::ContentLength),
        ("Content-Length: 9999999999999999999", R::ContentLength),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", R::Ambiguous),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", R::Ambiguous),
        ("Transfer-Encoding: chunked, identity", R::TransferEncoding),
        ("Transfer-Encoding: gzip, chunked", R::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", R::TransferEncoding),
        ("Transfer-Encoding: xchunked", R::TransferEncoding),
        ("Transfer-Encoding: \x0bchunked", R::FieldValue),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nx");
        assert_eq!(refused(&request), Some(reason), "{request:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(old), Some(R::Ambiguous));
}

#[test]
fn malformed_chunks_are_refused() {
    use WireRefusal as R;
    for (body, reason) in [
        ("5\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("5 \r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("5;\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("5;a=\x01\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("5;a\n\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("0x5\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("+5\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("\r\nhello\r\n0\r\n\r\n", R::ChunkSize),
        ("10000000000000000\r\n", R::ChunkSize),
        ("5\r\nhelloX\r\n0\r\n\r\n", R::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", R::ChunkEnd),
        ("0\r\nContent-Length: 3\r\n\r\n", R::Trailer),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", R::Trailer),
        ("0\r\nHost: b\r\n\r\n", R::Trailer),
        ("0\r\n A: b\r\n\r\n", R::ObsFold),
        ("0\r\nA: b\n\r\n", R::BareLf),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(refused(&request), Some(reason), "{request:?}");
    }
}

#[test]
fn limits_hold_while_the_head_arrives() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(1024));
    assert_eq!(refused(&long), Some(WireRefusal::HeaderBytes));
    let endless = "G".repeat(1025);
    assert_eq!(refused(&endless), Some(WireRefusal::HeaderBytes));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(10));
    assert_eq!(refused(&many), Some(WireRefusal::HeaderCount));
}

#[test]
fn a_good_request_passes_before_a_bad_one_is_refused() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (passed, refusal) = verdict(format!("{good}GET / HTTP/1.1\nHost: a\r\n\r\n").as_bytes());
    assert_eq!((passed, refusal), (good.len(), [Some(WireRefusal::BareLf); 2]));
}

/// A client could fill the memory else: it breaks its body off, and goes on sending.
#[tokio::test]
async fn behind_a_malformed_chunk_nothing_is_read() {
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let reading = Reading::new(Input::starting_with(format!("{head}zz\r\n").as_bytes()), LIMITS);
    let mut wire = Wire::new(Socket::Unix(near), reading, Rc::default());
    let (mut parts, ()) = http::Request::new(()).into_parts();
    assert!(wire.next_head(&mut parts).unwrap().is_some());
    let wire = Rc::new(RefCell::new(wire));
    let mut body = WireBody::new(&wire);
    tokio::io::AsyncWriteExt::write_all(&mut far, &[b'x'; 4000]).await.unwrap();
    for _ in 0..3 {
        let polled = std::future::poll_fn(|cx| body.poll_frame(cx));
        let polled = tokio::time::timeout(std::time::Duration::from_secs(5), polled).await;
        assert!(matches!(polled, Ok(Some(Err(BodyBroken)))));
        assert!(wire.borrow().reading.input.bytes().len() < 10);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_pass_more_than_there_is(bytes: Vec<u8>) {
        let (passed, _) = verdict(&bytes);
        assert!(passed <= bytes.len());
    }

    #[test]
    fn requests_made_of_odd_pieces_read_alike_whole_and_in_pieces(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /a HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\n", " ", "\t",
            "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "abc", "3\r\n", "0\r\n",
            "Upgrade: x\r\n", ";a=b", "A: b\r\n", "\r",
        ]), 0..12),
    ) {
        verdict(pieces.concat().as_bytes());
    }
}
