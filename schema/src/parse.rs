//! From text to a document (async-graphql's syntax tree), in one pass that counts as it goes: no more is read than the limits
//! allow. The grammar is that of the specification (October 2021), with descriptions of definitions as later drafts have them.
//! async-graphql's own parser takes ten times as long, misses a field that is twice in an input object and the escape within
//! block strings, and tells what is wrong in six lines.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_graphql_parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread, InlineFragment,
    OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeCondition, VariableDefinition,
};
use async_graphql_parser::{Pos, Positioned};
use async_graphql_value::{ConstValue, Name, Number, Value};
use indexmap::IndexMap;

use crate::error::{Code, Error};
use crate::lex::{Kind, Lexer, Token};
use crate::limits::{Limits, exceeded};

/// Reads a document.
pub fn parse(text: &str, limits: &Limits) -> Result<ExecutableDocument, Error> {
    if text.len() > limits.text {
        return Err(exceeded("bytes", text.len(), limits.text, "text"));
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::start(),
        limits,
        tokens: 0,
        directives: 0,
        nesting: 0,
    };
    parser.advance()?;
    parser.document()
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    limits: &'a Limits,
    tokens: usize,
    directives: usize,
    nesting: usize,
}

type Parsed<T> = Result<T, Error>;

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Parsed<Token<'a>> {
        let next = self.lexer.next_token()?;
        self.tokens += 1;
        if self.tokens > self.limits.tokens {
            return Err(exceeded("tokens or more", self.tokens, self.limits.tokens, "tokens"));
        }
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn unexpected<T>(&self) -> Parsed<T> {
        Err(syntax(format!("Unexpected {}.", self.token), self.token.pos))
    }

    fn peek(&self, punctuator: &str) -> bool {
        self.token.kind == Kind::Punctuator && self.token.text == punctuator
    }

    fn peek_name(&self, name: &str) -> bool {
        self.token.kind == Kind::Name && self.token.text == name
    }

    fn take(&mut self, punctuator: &str) -> Parsed<bool> {
        let there = self.peek(punctuator);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn expect(&mut self, punctuator: &str) -> Parsed<Pos> {
        if !self.peek(punctuator) {
            return Err(syntax(format!("Expected \"{punctuator}\", found {}.", self.token), self.token.pos));
        }
        Ok(self.advance()?.pos)
    }

    fn name(&mut self) -> Parsed<Positioned<Name>> {
        if self.token.kind != Kind::Name {
            return Err(syntax(format!("Expected Name, found {}.", self.token), self.token.pos));
        }
        let token = self.advance()?;
        Ok(Positioned::new(Name::new(token.text), token.pos))
    }

    /// Goes in between brackets.
    fn enter(&mut self, bracket: &str) -> Parsed<Pos> {
        let pos = self.expect(bracket)?;
        self.nesting += 1;
        if self.nesting > self.limits.nesting {
            return Err(exceeded("levels of brackets or more", self.nesting, self.limits.nesting, "nesting").at(pos));
        }
        Ok(pos)
    }

    /// Comes out again, if the closing bracket is here.
    fn leave(&mut self, bracket: &str) -> Parsed<bool> {
        let there = self.take(bracket)?;
        if there {
            self.nesting -= 1;
        }
        Ok(there)
    }

    fn document(&mut self) -> Parsed<ExecutableDocument> {
        let mut single: Option<Positioned<OperationDefinition>> = None;
        let mut named: HashMap<Name, Positioned<OperationDefinition>> = HashMap::new();
        let mut fragments: HashMap<Name, Positioned<FragmentDefinition>> = HashMap::new();
        loop {
            let described = self.description()?;
            let pos = self.token.pos;
            if self.peek_name("fragment") {
                self.advance()?;
                let (name, fragment) = self.fragment()?;
                match fragments.entry(name.node) {
                    Entry::Occupied(there) => return Err(twice("fragment", there.key(), name.pos)),
                    Entry::Vacant(place) => place.insert(Positioned::new(fragment, pos)),
                };
            } else if self.peek("{") && !described {
                let operation = OperationDefinition {
                    ty: OperationType::Query,
                    variable_definitions: Vec::new(),
                    directives: Vec::new(),
                    selection_set: self.selection_set()?,
                };
                if single.is_some() || !named.is_empty() {
                    return Err(not_alone(pos));
                }
                single = Some(Positioned::new(operation, pos));
            } else {
                let (name, operation) = self.operation()?;
                match name {
                    None if single.is_some() || !named.is_empty() => return Err(not_alone(pos)),
                    None => single = Some(Positioned::new(operation, pos)),
                    Some(_) if single.is_some() => return Err(not_alone(single.map_or(pos, |it| it.pos))),
                    Some(name) => match named.entry(name.node) {
                        Entry::Occupied(there) => return Err(twice("operation", there.key(), name.pos)),
                        Entry::Vacant(place) => {
                            place.insert(Positioned::new(operation, pos));
                        }
                    },
                }
            }
            if self.token.kind == Kind::End {
                break;
            }
        }
        let operations = match single {
            Some(operation) => DocumentOperations::Single(operation),
            None if named.is_empty() => return Err(syntax("The document has no operation.".into(), self.token.pos)),
            None => DocumentOperations::Multiple(named),
        };
        Ok(ExecutableDocument { operations, fragments })
    }

    /// Reads over a description, if one is here.
    fn description(&mut self) -> Parsed<bool> {
        let there = self.token.kind == Kind::String;
        if there {
            crate::lex::unquoted(self.token.text, self.token.pos)?;
            self.advance()?;
        }
        Ok(there)
    }

    fn operation(&mut self) -> Parsed<(Option<Positioned<Name>>, OperationDefinition)> {
        let ty = match (self.token.kind, self.token.text) {
            (Kind::Name, "query") => OperationType::Query,
            (Kind::Name, "mutation") => OperationType::Mutation,
            (Kind::Name, "subscription") => OperationType::Subscription,
            _ => return self.unexpected(),
        };
        self.advance()?;
        let name = if self.token.kind == Kind::Name { Some(self.name()?) } else { None };
        let variable_definitions = self.variables()?;
        let operation = OperationDefinition {
            ty,
            variable_definitions,
            directives: self.directives(false)?,
            selection_set: self.selection_set()?,
        };
        Ok((name, operation))
    }

    fn variables(&mut self) -> Parsed<Vec<Positioned<VariableDefinition>>> {
        let mut out = Vec::new();
        if !self.peek("(") {
            return Ok(out);
        }
        self.enter("(")?;
        loop {
            self.description()?;
            let pos = self.expect("$")?;
            let name = self.name()?;
            self.expect(":")?;
            let var_type = self.ty()?;
            let default_value = if self.take("=")? {
                let value = self.value(true)?;
                let pos = value.pos;
                // A constant has no variables, so it is one.
                let value = value
                    .node
                    .into_const()
                    .ok_or_else(|| syntax("Unexpected variable in constant value.".into(), pos))?;
                Some(Positioned::<ConstValue>::new(value, pos))
            } else {
                None
            };
            let directives = self.directives(true)?;
            out.push(Positioned::new(
                VariableDefinition {
                    name,
                    var_type,
                    directives,
                    default_value,
                },
                pos,
            ));
            if self.leave(")")? {
                return Ok(out);
            }
        }
    }

    fn ty(&mut self) -> Parsed<Positioned<Type>> {
        let pos = self.token.pos;
        let base = if self.peek("[") {
            self.enter("[")?;
            let item = self.ty()?.node;
            if !self.leave("]")? {
                return Err(syntax(format!("Expected \"]\", found {}.", self.token), self.token.pos));
            }
            BaseType::List(Box::new(item))
        } else {
            BaseType::Named(self.name()?.node)
        };
        let nullable = !self.take("!")?;
        Ok(Positioned::new(Type { base, nullable }, pos))
    }

    fn fragment(&mut self) -> Parsed<(Positioned<Name>, FragmentDefinition)> {
        if self.peek_name("on") {
            return self.unexpected();
        }
        let name = self.name()?;
        if !self.peek_name("on") {
            return Err(syntax(format!("Expected \"on\", found {}.", self.token), self.token.pos));
        }
        let type_condition = self.condition()?;
        let fragment = FragmentDefinition {
            type_condition,
            directives: self.directives(false)?,
            selection_set: self.selection_set()?,
        };
        Ok((name, fragment))
    }

    /// `on Type`; the `on` is here.
    fn condition(&mut self) -> Parsed<Positioned<TypeCondition>> {
        let pos = self.advance()?.pos;
        Ok(Positioned::new(TypeCondition { on: self.name()? }, pos))
    }

    fn selection_set(&mut self) -> Parsed<Positioned<SelectionSet>> {
        let pos = self.enter("{")?;
        let mut items = Vec::new();
        loop {
            items.push(self.selection()?);
            if self.leave("}")? {
                return Ok(Positioned::new(SelectionSet { items }, pos));
            }
        }
    }

    fn selection(&mut self) -> Parsed<Positioned<Selection>> {
        let pos = self.token.pos;
        if !self.take("...")? {
            return Ok(Positioned::new(Selection::Field(self.field()?), pos));
        }
        let selection = if self.token.kind == Kind::Name && self.token.text != "on" {
            let fragment_name = self.name()?;
            let directives = self.directives(false)?;
            Selection::FragmentSpread(Positioned::new(FragmentSpread { fragment_name, directives }, pos))
        } else {
            let type_condition = if self.peek_name("on") { Some(self.condition()?) } else { None };
            let directives = self.directives(false)?;
            let selection_set = self.selection_set()?;
            let inline = InlineFragment {
                type_condition,
                directives,
                selection_set,
            };
            Selection::InlineFragment(Positioned::new(inline, pos))
        };
        Ok(Positioned::new(selection, pos))
    }

    fn field(&mut self) -> Parsed<Positioned<Field>> {
        let first = self.name()?;
        let pos = first.pos;
        let (alias, name) = if self.take(":")? {
            (Some(first), self.name()?)
        } else {
            (None, first)
        };
        let arguments = self.arguments(false)?;
        let directives = self.directives(false)?;
        let selection_set = if self.peek("{") {
            self.selection_set()?
        } else {
            Positioned::new(SelectionSet::default(), self.token.pos)
        };
        let field = Field {
            alias,
            name,
            arguments,
            directives,
            selection_set,
        };
        Ok(Positioned::new(field, pos))
    }

    fn arguments(&mut self, constant: bool) -> Parsed<Vec<(Positioned<Name>, Positioned<Value>)>> {
        let mut out = Vec::new();
        if !self.peek("(") {
            return Ok(out);
        }
        self.enter("(")?;
        loop {
            let name = self.name()?;
            self.expect(":")?;
            out.push((name, self.value(constant)?));
            if self.leave(")")? {
                return Ok(out);
            }
        }
    }

    fn directives(&mut self, constant: bool) -> Parsed<Vec<Positioned<Directive>>> {
        let mut out = Vec::new();
        while self.peek("@") {
            let pos = self.advance()?.pos;
            self.directives += 1;
            if self.directives > self.limits.directives {
                return Err(exceeded(
                    "directives or more",
                    self.directives,
                    self.limits.directives,
                    "directives",
                ));
            }
            let name = self.name()?;
            let arguments = self.arguments(constant)?;
            out.push(Positioned::new(Directive { name, arguments }, pos));
        }
        Ok(out)
    }

    fn value(&mut self, constant: bool) -> Parsed<Positioned<Value>> {
        let pos = self.token.pos;
        let value = match (self.token.kind, self.token.text) {
            (Kind::Punctuator, "$") => {
                self.advance()?;
                if constant {
                    let name = self.name()?;
                    return Err(syntax(format!("Unexpected variable \"${}\" in constant value.", name.node), pos));
                }
                Value::Variable(self.name()?.node)
            }
            (Kind::Punctuator, "[") => {
                self.enter("[")?;
                let mut items = Vec::new();
                while !self.leave("]")? {
                    items.push(self.value(constant)?.node);
                }
                Value::List(items)
            }
            (Kind::Punctuator, "{") => {
                self.enter("{")?;
                let mut fields = IndexMap::new();
                while !self.leave("}")? {
                    let name = self.name()?;
                    self.expect(":")?;
                    let value = self.value(constant)?.node;
                    if fields.contains_key(&name.node) {
                        let message = format!("There can be only one input field named \"{}\".", name.node);
                        return Err(Error::invalid(message, [name.pos]));
                    }
                    fields.insert(name.node, value);
                }
                Value::Object(fields)
            }
            (Kind::Int | Kind::Float, text) => {
                let number: Number = serde_json::from_str(text).map_err(|_| syntax(format!("The number {text} is out of range."), pos))?;
                // `1.0` and `1e3` are floats, whatever their value.
                let number = match (self.token.kind, number.as_f64()) {
                    (Kind::Float, Some(float)) => Number::from_f64(float).unwrap_or(number),
                    _ => number,
                };
                self.advance()?;
                Value::Number(number)
            }
            (Kind::String, text) => {
                let text = crate::lex::unquoted(text, pos)?;
                self.advance()?;
                Value::String(text)
            }
            (Kind::Name, text) => {
                self.advance()?;
                match text {
                    "true" => Value::Boolean(true),
                    "false" => Value::Boolean(false),
                    "null" => Value::Null,
                    name => Value::Enum(Name::new(name)),
                }
            }
            _ => return self.unexpected(),
        };
        Ok(Positioned::new(value, pos))
    }
}

/// The text is no document, at this place.
pub fn syntax(message: String, pos: Pos) -> Error {
    Error::new(Code::ParseFailed, format!("Syntax Error: {message}")).at(pos)
}

fn twice(what: &str, name: &Name, pos: Pos) -> Error {
    Error::invalid(format!("There can be only one {what} named \"{name}\"."), [pos])
}

fn not_alone(pos: Pos) -> Error {
    Error::invalid("This anonymous operation must be the only defined operation.", [pos])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ExecutableDocument, String> {
        parse(text, &Limits::default()).map_err(|error| error.message)
    }

    #[test]
    fn reads_what_the_other_parser_reads() {
        for text in [
            "{a}",
            "query Q($a: Int = 1, $b: [ID!]!) @d(x: 1) { x: f(a: $a, b: [1, -2.5e3, \"s\\n\\u0041\", null, true, E, {c: {d: $b}}]) @include(if: true) { ...F ... on T { y } ... @skip(if: false) { z } } } fragment F on T { b }",
            "mutation M { a(text: \"\"\"\n    Hello,\n      World!\n\n    Yours\n  \"\"\") }",
            "subscription { a } # comment\n",
            "\u{feff}{ a, b ,c }",
            "query A { a } query B { b }",
        ] {
            let ours = read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let theirs = async_graphql_parser::parse_query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let json = |it: &ExecutableDocument| {
                let mut json = serde_json::to_value(it).unwrap_or_else(|e| panic!("{e}"));
                strip(&mut json);
                json
            };
            assert_eq!(json(&ours), json(&theirs), "{text}");
        }
    }

    /// Takes positions away: the two parsers differ about that of what is not there.
    fn strip(json: &mut serde_json::Value) {
        match json {
            serde_json::Value::Object(map) => {
                map.remove("pos");
                map.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("", "Syntax Error: Unexpected <EOF>."),
            ("{", "Syntax Error: Expected Name, found <EOF>."),
            ("{}", "Syntax Error: Expected Name, found \"}\"."),
            ("queryQ{a}", "Syntax Error: Unexpected Name \"queryQ\"."),
            ("{a(b: )}", "Syntax Error: Unexpected \")\"."),
            ("{a()}", "Syntax Error: Expected Name, found \")\"."),
            ("{a(b: 01)}", "Syntax Error: Invalid number, unexpected digit after 0: \"1\"."),
            ("{a(b: 1x)}", "Syntax Error: Invalid number, expected digit but got: \"x\"."),
            ("{a(b: \"x)}", "Syntax Error: Unterminated string."),
            ("{a(b: \"\\q\")}", "Syntax Error: Invalid character escape sequence: \"\\q\"."),
            ("{a} fragment on on T {a}", "Syntax Error: Unexpected Name \"on\"."),
            (
                "query($a: Int = $b) {a}",
                "Syntax Error: Unexpected variable \"$b\" in constant value.",
            ),
            ("fragment F on T {a}", "Syntax Error: The document has no operation."),
            ("type X {a: Int}", "Syntax Error: Unexpected Name \"type\"."),
            ("{a é}", "Syntax Error: Unexpected character: \"é\"."),
            ("{a(b: {c: 1, c: 2})}", "There can be only one input field named \"c\"."),
            ("{a} {b}", "This anonymous operation must be the only defined operation."),
            ("query A {a} query A {b}", "There can be only one operation named \"A\"."),
        ] {
            assert_eq!(read(text).err().as_deref(), Some(message), "{text}");
        }
    }

    #[test]
    fn knows_where_it_is() {
        let error = parse("# é\n{ a(b: \"é\") é }", &Limits::default()).expect_err("é is no token");
        assert_eq!(error.locations, [Pos { line: 2, column: 13 }]);
    }

    #[test]
    fn descriptions_are_read_over() {
        assert!(read("\"\"\"What it does.\"\"\" query Q(\"how many\" $n: Int) { a(n: $n) } \"a part\" fragment F on T { b }").is_ok());
        assert!(read("\"no\" { a }").is_err());
    }

    #[test]
    fn the_limits_hold_while_reading() {
        let limits = Limits::default();
        let told = |text: &str| {
            parse(text, &limits)
                .err()
                .and_then(|e| e.extensions.first().map(|(_, v)| v.to_string()))
        };
        assert_eq!(told(&format!("{{a(b:{}", "[".repeat(1_000))).as_deref(), Some("\"nesting\""));
        assert_eq!(told(&format!("query($a:{}", "[".repeat(1_000))).as_deref(), Some("\"nesting\""));
        assert_eq!(told(&format!("{{{}}}", "a ".repeat(20_000))).as_deref(), Some("\"tokens\""));
        assert_eq!(told(&format!("{{a{}}}", "@b".repeat(200))).as_deref(), Some("\"directives\""));
        assert_eq!(told(&" ".repeat(100_000)).as_deref(), Some("\"text\""));
    }
}
