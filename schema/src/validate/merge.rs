//! Fields with one response key must be one field: OverlappingFieldsCanBeMerged (§5.3.2), at every depth, without comparing each
//! pair: of a group all are compared with the first, since being alike is transitive. Two questions are asked of every group:
//! are the shapes of the answers alike (whatever the types of the parents), and, among fields whose parents may be the same
//! object, are name and arguments the same.

use std::collections::HashSet;

use async_graphql_parser::Positioned;
use async_graphql_parser::types::{ExecutableDocument, Field as AstField, Selection, SelectionSet};
use indexmap::IndexMap;

use crate::error::{Code, Error};
use crate::types::model::{Field, Type, TypeRef, Types};

/// A selected field, where it is selected.
#[derive(Clone, Copy)]
struct Use<'a> {
    parent: &'a str,
    /// The parent is an object type: it is no other object type.
    concrete: bool,
    ast: &'a Positioned<AstField>,
    field: Option<&'a Field>,
}

type Groups<'a> = IndexMap<&'a str, Vec<Use<'a>>>;

struct Merge<'a> {
    types: &'a Types,
    document: &'a ExecutableDocument,
    /// Sets of fields that have been judged, by the places of their nodes.
    judged: HashSet<Vec<usize>>,
    errors: Vec<Error>,
    steps: usize,
}

/// Steps that a document may take: far more than any real one; only one that is made to hurt has more.
const MOST_STEPS: usize = 200_000;

/// What cannot be merged.
pub fn check(types: &Types, document: &ExecutableDocument) -> Vec<Error> {
    let mut merge = Merge {
        types,
        document,
        judged: HashSet::new(),
        errors: Vec::new(),
        steps: 0,
    };
    let roots = document
        .operations
        .iter()
        .map(|(_, operation)| (crate::plan::root::root_type(operation.node.ty), &operation.node.selection_set.node))
        // Fragments that are used are judged where they are spread; the unused are no valid document's.
        .collect::<Vec<_>>();
    for (root, set) in roots {
        let mut groups = Groups::new();
        merge.expand(root, set, &mut HashSet::new(), &mut groups);
        merge.shapes(&groups, &mut Vec::new());
        merge.fields(&groups, &mut Vec::new());
        if merge.steps > MOST_STEPS {
            return vec![Error::new(
                Code::TooCostly,
                "The operation's fields overlap in too many ways to be compared.",
            )];
        }
    }
    merge.errors
}

impl<'a> Merge<'a> {
    fn expand(&mut self, parent: &'a str, set: &'a SelectionSet, visited: &mut HashSet<&'a str>, groups: &mut Groups<'a>) {
        for selection in &set.items {
            self.steps += 1;
            match &selection.node {
                Selection::Field(ast) => {
                    let on = self.types.object(parent);
                    let it = Use {
                        parent,
                        concrete: match self.types.types.get(parent) {
                            Some(Type::Object(it)) => !it.interface,
                            Some(Type::Union(_)) => false,
                            _ => true,
                        },
                        ast,
                        field: on.and_then(|on| on.fields.get(ast.node.name.node.as_str())),
                    };
                    groups.entry(ast.node.response_key().node.as_str()).or_default().push(it);
                }
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref().map_or(parent, |it| it.node.on.node.as_str());
                    self.expand(on, &inline.node.selection_set.node, visited, groups);
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if visited.insert(name)
                        && let Some(fragment) = self.document.fragments.get(name)
                    {
                        let on = fragment.node.type_condition.node.on.node.as_str();
                        self.expand(on, &fragment.node.selection_set.node, visited, groups);
                    }
                }
            }
        }
    }

    /// What is selected beneath fields, gathered as one.
    fn beneath(&mut self, uses: &[Use<'a>]) -> Groups<'a> {
        let mut groups = Groups::new();
        let mut by_parent: IndexMap<&'a str, HashSet<&'a str>> = IndexMap::new();
        for it in uses {
            let parent = it.field.map_or("", |field| field.ty.name());
            let visited = by_parent.entry(parent).or_default();
            // A fragment says its own type, so one visit for each parent is enough.
            let mut seen = std::mem::take(visited);
            self.expand(parent, &it.ast.node.selection_set.node, &mut seen, &mut groups);
            if let Some(visited) = by_parent.get_mut(parent) {
                *visited = seen;
            }
        }
        groups
    }

    fn shapes(&mut self, groups: &Groups<'a>, path: &mut Vec<&'a str>) {
        for (key, uses) in groups {
            if self.steps > MOST_STEPS || self.errors.len() >= crate::error::MAX_ERRORS {
                return;
            }
            path.push(key);
            let first = uses[0];
            for other in &uses[1..] {
                self.steps += 1;
                let (Some(a), Some(b)) = (ty_of(&first), ty_of(other)) else {
                    continue;
                };
                if !self.alike(&a, &b) {
                    self.conflict(path, &first, other, format!("they return conflicting types \"{a}\" and \"{b}\""));
                    break;
                }
            }
            if uses.iter().any(|it| !it.ast.node.selection_set.node.items.is_empty()) {
                let below = self.beneath(uses);
                self.shapes(&below, path);
            }
            path.pop();
        }
    }

    fn fields(&mut self, groups: &Groups<'a>, path: &mut Vec<&'a str>) {
        for (key, uses) in groups {
            if self.steps > MOST_STEPS || self.errors.len() >= crate::error::MAX_ERRORS {
                return;
            }
            path.push(key);
            let abstracts: Vec<Use<'a>> = uses.iter().filter(|it| !it.concrete).copied().collect();
            let mut by_type: IndexMap<&str, Vec<Use<'a>>> = IndexMap::new();
            for it in uses.iter().filter(|it| it.concrete) {
                by_type.entry(it.parent).or_insert_with(|| abstracts.clone()).push(*it);
            }
            if by_type.is_empty() {
                by_type.insert("", abstracts);
            }
            for set in by_type.values() {
                self.steps += set.len();
                let mut nodes: Vec<usize> = set.iter().map(|it| std::ptr::from_ref(it.ast) as usize).collect();
                nodes.sort_unstable();
                nodes.dedup();
                if !self.judged.insert(nodes) {
                    continue;
                }
                let first = set[0];
                let mut clash = false;
                for other in &set[1..] {
                    let (a, b) = (&first.ast.node, &other.ast.node);
                    let reason = if a.name.node != b.name.node {
                        format!("\"{}\" and \"{}\" are different fields", a.name.node, b.name.node)
                    } else if !same_arguments(a, b) {
                        "they have differing arguments".to_owned()
                    } else {
                        continue;
                    };
                    self.conflict(path, &first, other, reason);
                    clash = true;
                    break;
                }
                if !clash && set.iter().any(|it| !it.ast.node.selection_set.node.items.is_empty()) {
                    let below = self.beneath(set);
                    self.fields(&below, path);
                }
            }
            path.pop();
        }
    }

    /// SameResponseShape, without what is beneath.
    fn alike(&self, a: &TypeRef, b: &TypeRef) -> bool {
        match (a, b) {
            (TypeRef::NonNull(a), TypeRef::NonNull(b)) | (TypeRef::List(a), TypeRef::List(b)) => self.alike(a, b),
            (TypeRef::Named(a), TypeRef::Named(b)) => a == b || (self.composite(a) && self.composite(b)),
            _ => false,
        }
    }

    fn composite(&self, name: &str) -> bool {
        matches!(self.types.types.get(name), Some(Type::Object(_) | Type::Union(_)))
    }

    fn conflict(&mut self, path: &[&str], a: &Use<'_>, b: &Use<'_>, reason: String) {
        let mut message = reason;
        for (depth, key) in path.iter().enumerate().rev() {
            message = if depth == 0 {
                format!("Fields \"{key}\" conflict because {message}.")
            } else {
                format!("subfields \"{key}\" conflict because {message}")
            };
        }
        message.push_str(" Use different aliases on the fields to fetch both if this was intentional.");
        self.errors.push(Error::invalid(message, [a.ast.pos, b.ast.pos]));
    }
}

fn ty_of(it: &Use<'_>) -> Option<TypeRef> {
    if it.ast.node.name.node == "__typename" {
        return Some(TypeRef::named("String").required());
    }
    it.field.map(|field| field.ty.clone())
}

fn same_arguments(a: &AstField, b: &AstField) -> bool {
    a.arguments.len() == b.arguments.len()
        && a.arguments
            .iter()
            .all(|(name, value)| b.get_argument(&name.node).is_some_and(|other| other.node == value.node))
}
