//! Sets of methods: what a route takes, and what `Allow` says.

use http::{HeaderValue, Method};

/// The methods every server knows, in the order in which `Allow` names them.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];
const GET: u16 = 1;
const HEAD: u16 = 2;

/// Which methods a route takes. `GET` brings `HEAD` with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// A bit for each of [`KNOWN`].
    taken: u16,
    /// The same without the `HEAD` that comes with `GET`.
    named: u16,
    /// Methods that are not among [`KNOWN`].
    others: Vec<Method>,
    /// Takes every method.
    any: bool,
}

/// The method of a request with its place among the known ones, which is looked up once per request.
#[derive(Clone, Copy, Debug)]
pub struct AskedMethod<'a> {
    method: &'a Method,
    bit: u16,
}

impl<'a> AskedMethod<'a> {
    /// Looks a method up.
    pub fn new(method: &'a Method) -> Self {
        let bit = match *method {
            Method::GET => GET,
            Method::HEAD => HEAD,
            Method::POST => 1 << 2,
            Method::PUT => 1 << 3,
            Method::PATCH => 1 << 4,
            Method::DELETE => 1 << 5,
            Method::OPTIONS => 1 << 6,
            Method::CONNECT => 1 << 7,
            Method::TRACE => 1 << 8,
            _ => 0,
        };
        Self { method, bit }
    }
}

impl Methods {
    /// The methods as a route names them; none means any.
    pub fn new(named: &[Method]) -> Self {
        let mut methods = Self { any: named.is_empty(), ..Self::default() };
        for method in named {
            match AskedMethod::new(method).bit {
                0 if !methods.others.contains(method) => methods.others.push(method.clone()),
                bit => methods.named |= bit,
            }
        }
        methods.taken = methods.named | if methods.named & GET == 0 { 0 } else { HEAD };
        methods
    }

    /// Whether a method is taken.
    pub fn take(&self, asked: AskedMethod<'_>) -> bool {
        self.any
            || self.taken & asked.bit != 0
            || (asked.bit == 0 && self.others.contains(asked.method))
    }

    /// Whether every method is taken.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Whether `HEAD` is named, which goes before a `HEAD` that only comes with `GET`.
    pub fn name_head(&self) -> bool {
        self.named & HEAD != 0
    }

    /// Whether both name some method, or both take any.
    pub fn overlap(&self, other: &Self) -> bool {
        match (self.any, other.any) {
            (true, true) => true,
            (false, false) => {
                self.named & other.named != 0
                    || self.others.iter().any(|method| other.others.contains(method))
            }
            (true, false) | (false, true) => false,
        }
    }

    /// Takes the methods of another set too.
    pub fn add(&mut self, other: &Self) {
        self.any |= other.any;
        self.taken |= other.taken;
        self.named |= other.named;
        for method in &other.others {
            if !self.others.contains(method) {
                self.others.push(method.clone());
            }
        }
    }

    /// The value of `Allow`; `None` if every method is taken, since then there is nothing to refuse.
    pub fn allow(&self) -> Option<HeaderValue> {
        if self.any {
            return None;
        }
        let mut others: Vec<_> = self.others.iter().map(Method::as_str).collect();
        others.sort_unstable();
        let known = KNOWN.iter().filter(|method| self.taken & AskedMethod::new(method).bit != 0);
        let names: Vec<_> = known.map(Method::as_str).chain(others).collect();
        HeaderValue::from_str(&names.join(", ")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(methods: &[Method]) -> Option<HeaderValue> {
        Methods::new(methods).allow()
    }

    #[test]
    fn allow_names_methods_in_one_order_and_head_with_get() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let methods = [purge, Method::DELETE, Method::GET];
        assert_eq!(allow(&methods).unwrap(), "GET, HEAD, DELETE, PURGE");
        assert_eq!(allow(&[Method::POST]).unwrap(), "POST");
        assert_eq!(allow(&[]), None);
    }

    #[test]
    fn head_comes_with_get_but_does_not_overlap_it() {
        let (get, head) = (Methods::new(&[Method::GET]), Methods::new(&[Method::HEAD]));
        assert!(get.take(AskedMethod::new(&Method::HEAD)));
        assert!(!head.take(AskedMethod::new(&Method::GET)));
        assert!(!get.overlap(&head));
        assert!(get.overlap(&Methods::new(&[Method::PUT, Method::GET])));
        assert!(!get.overlap(&Methods::new(&[])));
    }

    #[test]
    fn an_unknown_method_is_compared_by_name() {
        let (purge, ban) =
            (Method::from_bytes(b"PURGE").unwrap(), Method::from_bytes(b"BAN").unwrap());
        let methods = Methods::new(std::slice::from_ref(&purge));
        assert!(methods.take(AskedMethod::new(&purge)));
        assert!(!methods.take(AskedMethod::new(&ban)));
        assert!(Methods::new(&[]).take(AskedMethod::new(&ban)));
    }
}
