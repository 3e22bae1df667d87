//! Why the bytes of a connection are refused before they are a request.

use http::StatusCode;

/// One reason each; the word goes into the metric `gateway_refusals_total` and the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireRefusal {
    /// A line ends with LF alone (RFC 9112, section 2.2).
    BareLf,
    /// CR within a line (RFC 9112, section 2.2).
    BareCr,
    /// A line that begins with white space (RFC 9112, section 5.2).
    ObsFold,
    /// White space between a field's name and its colon (RFC 9112, section 5.1).
    SpaceBeforeColon,
    /// A field without a name or without a colon, or with a byte that no name may have.
    FieldName,
    /// A control byte in a field's value (RFC 9110, section 5.5).
    FieldValue,
    /// The request line is not `method SP target SP version`.
    RequestLine,
    /// The target is not of a form that the method allows (RFC 9112, section 3.2).
    Target,
    /// The target is longer than 65,534 bytes.
    TargetLength,
    /// Another version than HTTP/1.0 and HTTP/1.1.
    Version,
    /// `Host` is missing, empty, repeated or no host (RFC 9112, section 3.2).
    Host,
    /// `Content-Length` is no number, or stands there twice (RFC 9112, section 6.3).
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding`, or `Transfer-Encoding` in HTTP/1.0 (RFC 9112, section 6.1).
    Ambiguous,
    /// `Transfer-Encoding` is something else than `chunked`.
    TransferEncoding,
    /// A chunk's size line has something that does not belong there (RFC 9112, section 7.1).
    ChunkSize,
    /// A chunk is not followed by CR LF.
    ChunkEnd,
    /// A field in the trailer that must not be there (RFC 9110, section 6.5.1).
    Trailer,
    /// CONNECT: this is no forward proxy.
    Connect,
    /// Request line and fields are longer than `limits.header-bytes`.
    HeaderBytes,
    /// More fields than `limits.header-count`.
    HeaderCount,
    /// The head was not complete by `limits.header-timeout`.
    HeaderTimeout,
}

impl WireRefusal {
    /// The stable word for it.
    pub(crate) fn reason(self) -> &'static str {
        self.words().1
    }

    /// One sentence for the person at the other end.
    pub(crate) fn detail(self) -> &'static str {
        self.words().2
    }

    /// The status it is answered with.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.words().0).unwrap_or(StatusCode::BAD_REQUEST)
    }

    fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BareLf => (400, "bare-lf", "a line ends with LF without CR"),
            Self::BareCr => (400, "bare-cr", "a CR stands within a line"),
            Self::ObsFold => (400, "obs-fold", "a header line begins with white space"),
            Self::SpaceBeforeColon => {
                (400, "space-before-colon", "white space stands before the colon of a header")
            }
            Self::FieldName => (400, "field-name", "a header has no valid name"),
            Self::FieldValue => (400, "field-value", "a header's value has a control character"),
            Self::RequestLine => (400, "request-line", "the request line is malformed"),
            Self::Target => (400, "target", "the request target is malformed"),
            Self::TargetLength => (414, "target-length", "the request target is too long"),
            Self::Version => (505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken here"),
            Self::Host => (400, "host", "the Host header is missing, repeated or malformed"),
            Self::ContentLength => {
                (400, "content-length", "Content-Length is malformed or repeated")
            }
            Self::Ambiguous => {
                (400, "ambiguous-length", "Content-Length and Transfer-Encoding exclude each other")
            }
            Self::TransferEncoding => {
                (501, "transfer-encoding", "no other transfer coding than chunked is understood")
            }
            Self::ChunkSize => (400, "chunk-size", "a chunk's size line is malformed"),
            Self::ChunkEnd => (400, "chunk-end", "a chunk does not end where it said"),
            Self::Trailer => (400, "trailer", "a trailer has a field that must not be there"),
            Self::Connect => (501, "connect", "CONNECT is not offered"),
            Self::HeaderBytes => (431, "header-bytes", "the request head is too long"),
            Self::HeaderCount => (431, "header-count", "the request has too many headers"),
            Self::HeaderTimeout => (408, "header-timeout", "the request head took too long"),
        }
    }
}
