//! What ships with the gateway: the standard klasses and the types that properties share (`entities/klasses/*.toml`).

use std::sync::LazyLock;

use indexmap::IndexMap;

use super::definition::{Definition, PropertyDefinition, Stored};
use super::{Kind, read, resolve, settle};

const TYPES: &str = include_str!("../../klasses/types.toml");

/// In the order in which tables are made and schemas are printed.
const KLASSES: &[&str] = &[
    include_str!("../../klasses/company.toml"),
    include_str!("../../klasses/customer.toml"),
    include_str!("../../klasses/conversation.toml"),
    include_str!("../../klasses/message.toml"),
    include_str!("../../klasses/user.toml"),
    include_str!("../../klasses/team.toml"),
    include_str!("../../klasses/note.toml"),
];

/// The standard klasses, settled. Names are never remade for an org: the same text gives the same names.
pub fn standard() -> &'static [Stored] {
    static STANDARD: LazyLock<Vec<Stored>> = LazyLock::new(|| {
        #[allow(clippy::expect_used, reason = "the texts are part of the program; a test reads them all")]
        let definitions = KLASSES
            .iter()
            .map(|text| read::from_toml(text).expect("a standard definition is well formed"))
            .collect();
        settle::settle(&[], &[], definitions)
    });
    &STANDARD
}

/// The standard klass of this name, as it was written.
pub fn definition(name: &str) -> Option<&'static Definition> {
    standard().iter().map(|s| &s.written).find(|d| d.name == name)
}

/// The shared types as they were written, by name.
pub fn shared_definitions() -> &'static IndexMap<String, PropertyDefinition> {
    static TYPES_WRITTEN: LazyLock<IndexMap<String, PropertyDefinition>> = LazyLock::new(|| {
        #[allow(clippy::expect_used, reason = "the text is part of the program; a test reads it")]
        read::shared_types(TYPES).expect("the shared types are well formed")
    });
    &TYPES_WRITTEN
}

/// The shared type of this name (`Channel`, `Location`).
pub fn shared(name: &str) -> Option<&'static Kind> {
    shared_kinds().get(name).map(|(kind, _)| kind)
}

/// All shared types with their descriptions, in order.
pub fn shared_kinds() -> &'static IndexMap<String, (Kind, Option<String>)> {
    static KINDS: LazyLock<IndexMap<String, (Kind, Option<String>)>> = LazyLock::new(|| {
        let mut out: IndexMap<String, (Kind, Option<String>)> = IndexMap::new();
        for (name, written) in shared_definitions() {
            let shared = |other: &str| out.get(other).map(|(kind, _)| kind.clone());
            if let Some(kind) = resolve::kind(written, Some(name), &IndexMap::new(), &shared) {
                out.insert(name.clone(), (kind, written.description.clone()));
            }
        }
        out
    });
    &KINDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::klass::registry::CustomerLink;
    use crate::klass::{OrgId, resolve::resolve};

    #[test]
    fn standard_klasses_resolve() {
        assert!(
            shared_kinds().len() == shared_definitions().len(),
            "every shared type is known where it is used"
        );
        let registry = resolve(OrgId(uuid::Uuid::nil()), "acme", 1, &[]).expect("the standard klasses fit together");
        let names: Vec<_> = registry.klasses.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(names, ["company", "customer", "conversation", "message", "user", "team", "note"]);
        let customer = |name: &str| registry.klass(name).map(|k| k.customer.clone());
        assert_eq!(customer("customer"), Some(CustomerLink::Itself));
        for name in ["conversation", "message", "note"] {
            assert_eq!(customer(name), Some(CustomerLink::Through("customer".into())), "{name}");
        }
        assert_eq!(customer("company"), Some(CustomerLink::None));
        assert!(registry.klasses.iter().all(|k| k.table.shared && k.extension.is_none()));
    }
}
