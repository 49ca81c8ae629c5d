//! Names: how what a person or another system wrote becomes a legal GraphQL name, a column, a table, an id prefix.
//!
//! Each is made once, when a klass is settled, and stored; these functions may change, stored names do not.

use super::registry::LegalNames;

/// Longest column, in bytes: with the suffix `_currency` it is still within Postgres' 63.
pub const LONGEST_COLUMN: usize = 54;
/// Longest name that a person may give.
pub const LONGEST_NAME: usize = 100;

/// The legal GraphQL name of a property, relationship or klass's field, in camel case: `@acmeLoyaltyTier` → `acmeLoyaltyTier`,
/// `ecomm-order` → `ecommOrder`. `None` when nothing legal is left. Folding twice changes nothing.
pub fn fold(name: &str) -> Option<String> {
    let text = to_ascii(name);
    // a name that begins with a capital and has no small letter is shouted, not composed: `ACME_ORDER`
    let first = text.chars().find(char::is_ascii_alphanumeric);
    let shouted = first.is_some_and(|c| c.is_ascii_uppercase()) && !text.chars().any(|c| c.is_ascii_lowercase());
    let text = if shouted { text.to_ascii_lowercase() } else { text };
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
        if out.is_empty() {
            if word.as_bytes()[0].is_ascii_digit() {
                out.push('_');
            }
            lower_start(word, &mut out);
        } else {
            upper_start(word, &mut out);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The legal GraphQL name of a klass's type: `ecomm-order` → `EcommOrder`.
pub fn fold_type(name: &str) -> Option<String> {
    let field = fold(name)?;
    let mut out = String::with_capacity(field.len());
    upper_start(&field, &mut out);
    Some(out)
}

/// The legal names of a klass.
pub fn fold_klass(name: &str, plural: &str) -> Option<LegalNames> {
    Some(LegalNames {
        type_name: fold_type(name)?,
        field: fold(name)?,
        plural: fold(plural)?,
    })
}

/// The legal GraphQL name of an enum's value: `in progress` → `IN_PROGRESS`. Folding twice changes nothing.
pub fn fold_enum(value: &str) -> Option<String> {
    let out = words(value).join("_").to_ascii_uppercase();
    match out.as_bytes().first() {
        None => None,
        Some(b) if b.is_ascii_digit() => Some(format!("_{out}")),
        Some(_) => Some(out),
    }
}

/// The column for a legal name: `orderNumber` → `order_number`, cut to [`LONGEST_COLUMN`] bytes with a mark of what was cut.
pub fn column(legal: &str) -> String {
    snake(legal, LONGEST_COLUMN)
}

/// Words joined by `_`, in lower case, at most `longest` bytes; what is longer is cut and marked with a hash of the whole.
pub fn snake(name: &str, longest: usize) -> String {
    let out = words(name).join("_").to_ascii_lowercase();
    if out.len() <= longest {
        return out;
    }
    // FNV-1a: stable between versions and machines, unlike the standard library's hasher.
    let hash = out
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{}_{:08x}", &out[..longest - 9], hash as u32)
}

/// The prefix of a klass's ids, by the rules of TypeID (lower-case letters, inner underscores, at most 63): `orderV2` → `order_v`.
pub fn id_prefix(name: &str) -> String {
    let text: String = snake(name, 60)
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c } else { '_' })
        .collect();
    let text = text.split('_').filter(|w| !w.is_empty()).collect::<Vec<_>>().join("_");
    if text.is_empty() { "object".into() } else { text }
}

/// `base`, or the first of `base_b`, `base_c`, … (for prefixes) that is not taken.
pub fn free_prefix(base: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut candidate = base.to_owned();
    let mut n = 1u32;
    while taken(&candidate) {
        // bijective base 26: b … z, aa, ab, …
        let (mut rest, mut letters) = (n + 1, String::new());
        while rest > 0 {
            letters.insert(0, char::from(b'a' + ((rest - 1) % 26) as u8));
            rest = (rest - 1) / 26;
        }
        candidate = format!("{base}_{letters}");
        n += 1;
    }
    candidate
}

/// `base`, or the first of `base_2`, `base_3`, … that is not taken.
pub fn free_name(base: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut candidate = base.to_owned();
    let mut n = 2u32;
    while taken(&candidate) {
        candidate = format!("{base}_{n}");
        n += 1;
    }
    candidate
}

/// The plural of an English noun, for klasses that do not give one: `company` → `companies`.
pub fn plural(name: &str) -> String {
    let ends = |s: &str| name.ends_with(s);
    let before_y = name.chars().rev().nth(1).is_some_and(|c| !"aeiouAEIOU".contains(c));
    if ends("y") && before_y {
        format!("{}ies", &name[..name.len() - 1])
    } else if ends("s") || ends("x") || ends("z") || ends("ch") || ends("sh") {
        format!("{name}es")
    } else {
        format!("{name}s")
    }
}

/// Is a legal GraphQL name that does not begin with `__` (those are the specification's).
pub fn is_legal(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with("__")
}

/// The candidate that was probably meant, for "did you mean": at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word_folded = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (distance(&word_folded, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= (c.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// How many letters must be changed, added, left out or swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// Appends a word with its leading capitals in lower case: `URLParam` → `urlParam`, `Order` → `order`.
fn lower_start(word: &str, out: &mut String) {
    let capitals = word.bytes().take_while(u8::is_ascii_uppercase).count();
    let small = match capitals {
        0 | 1 => capitals,
        n if n == word.len() => n,
        // the last capital begins the next word, unless a digit follows (`ABC1`)
        n if word.as_bytes()[n].is_ascii_lowercase() => n - 1,
        n => n,
    };
    out.push_str(&word[..small].to_ascii_lowercase());
    out.push_str(&word[small..]);
}

/// Appends a word with its first letter in upper case.
fn upper_start(word: &str, out: &mut String) {
    let mut chars = word.chars();
    if let Some(first) = chars.next() {
        out.push(first.to_ascii_uppercase());
        out.push_str(chars.as_str());
    }
}

/// The words of a name: at whatever is no letter or digit, before a capital that follows a small letter or digit, and before the last of
/// several capitals when a small letter follows (`URLParam` → `URL`, `Param`).
fn words(name: &str) -> Vec<String> {
    let text = to_ascii(name);
    let bytes = text.as_bytes();
    // without any small letter, capitals tell nothing: `2XL` is one word
    let composed = bytes.iter().any(u8::is_ascii_lowercase);
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for (i, &b) in bytes.iter().enumerate() {
        if !b.is_ascii_alphanumeric() {
            if !word.is_empty() {
                out.push(std::mem::take(&mut word));
            }
            continue;
        }
        let before = i.checked_sub(1).map(|j| bytes[j]);
        let starts = composed
            && b.is_ascii_uppercase()
            && before.is_some_and(|p| {
                p.is_ascii_lowercase()
                    || p.is_ascii_digit()
                    || (p.is_ascii_uppercase() && bytes.get(i + 1).is_some_and(u8::is_ascii_lowercase))
            });
        if starts && !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        word.push(char::from(b));
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// Latin letters without their marks; whatever else is not ASCII becomes a separator.
fn to_ascii(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\'' | '’' => {} // `won't` is one word
            c if c.is_ascii() => out.push(c),
            'à' | 'á' | 'â' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => out.push('a'),
            'ä' | 'æ' => out.push_str("ae"),
            'ç' | 'ć' | 'č' => out.push('c'),
            'ď' | 'đ' => out.push('d'),
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => out.push('e'),
            'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => out.push('i'),
            'ł' => out.push('l'),
            'ñ' | 'ń' | 'ň' => out.push('n'),
            'ò' | 'ó' | 'ô' | 'õ' | 'ø' | 'ō' | 'ő' => out.push('o'),
            'ö' | 'œ' => out.push_str("oe"),
            'ř' => out.push('r'),
            'ś' | 'š' | 'ş' => out.push('s'),
            'ß' => out.push_str("ss"),
            'ť' | 'ţ' => out.push('t'),
            'ù' | 'ú' | 'û' | 'ū' | 'ů' | 'ű' => out.push('u'),
            'ü' => out.push_str("ue"),
            'ý' | 'ÿ' => out.push('y'),
            'ź' | 'ż' | 'ž' => out.push('z'),
            c => match c.to_lowercase().next() {
                // a capital with a mark: fold its small letter, keep it a capital
                Some(small) if small != c => {
                    let folded = to_ascii(&small.to_string());
                    let mut chars = folded.chars();
                    if let Some(first) = chars.next() {
                        out.push(first.to_ascii_uppercase());
                        out.push_str(chars.as_str());
                    }
                }
                _ => out.push('-'),
            },
        }
    }
    out
}
