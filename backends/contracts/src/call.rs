//! Compares one gRPC method that a reader calls with the `.proto` files.

use protox::prost_reflect::{
    Cardinality, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};

use crate::Offered;
use crate::breach::{Breach, Change};
use crate::readers::Call;

/// What this reader relies on and the files do not say.
pub(crate) fn breaches(call: &Call, offered: &Offered) -> Vec<Breach> {
    let Call { reader, of, method: name, sends, uses } = call;
    let changes = match method(call, offered) {
        Ok(method) => {
            let request = changes("request", sends, &method.input());
            request.into_iter().chain(changes("response", uses, &method.output())).collect()
        }
        Err(change) => vec![(String::new(), change)],
    };
    let breach = |(place, change): (String, Change)| {
        let place = if place.is_empty() { name.clone() } else { format!("{name} → {place}") };
        Breach { reader: reader.clone(), of: of.clone(), place, change }
    };
    changes.into_iter().map(breach).collect()
}

fn method(call: &Call, offered: &Offered) -> Result<MethodDescriptor, Change> {
    let file = offered.proto.get_file_by_name(&call.of).ok_or(Change::DescriptionGone)?;
    let (service, name) = call.method.split_once('/').ok_or(Change::OperationGone)?;
    let service = file.services().find(|it| it.full_name() == service);
    let method = service.and_then(|service| service.methods().find(|it| it.name() == name));
    let method = method.ok_or(Change::OperationGone)?;
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => Ok(method),
        (true, _) | (_, true) => Err(Change::TypeChanged { now: "a stream".to_owned() }),
    }
}

fn changes(part: &str, fields: &[String], message: &MessageDescriptor) -> Vec<(String, Change)> {
    let changed = fields.iter().filter_map(|text| {
        let change = match Expected::parse(text) {
            Some(expected) => expected.compare(message)?,
            None => Change::NotAField,
        };
        Some((format!("{part} → `{text}`"), change))
    });
    changed.collect()
}

/// `string name = 2`, or `repeated string names = 2`.
struct Expected<'a> {
    type_name: &'a str,
    name: &'a str,
    number: u32,
}

impl<'a> Expected<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (declared, number) = text.split_once('=')?;
        let (type_name, name) = declared.trim().rsplit_once(' ')?;
        Some(Self { type_name, name, number: number.trim().parse().ok()? })
    }

    fn compare(&self, message: &MessageDescriptor) -> Option<Change> {
        let Some(field) = message.get_field(self.number) else {
            let moved = message.get_field_by_name(self.name);
            let number = |field: FieldDescriptor| Change::NumberChanged { now: field.number() };
            return Some(moved.map_or(Change::FieldGone, number));
        };
        if field.name() != self.name {
            let moved = message.get_field_by_name(self.name);
            let renamed = || Change::NameChanged { now: field.name().to_owned() };
            return Some(
                moved.map_or_else(renamed, |it| Change::NumberChanged { now: it.number() }),
            );
        }
        let now = type_name(&field);
        (now != self.type_name).then_some(Change::TypeChanged { now })
    }
}

/// As it is written in the file, a message's name in full.
fn type_name(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(choice) => choice.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    match field.cardinality() {
        Cardinality::Repeated => format!("repeated {name}"),
        Cardinality::Optional | Cardinality::Required => name,
    }
}
