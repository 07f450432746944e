//! Reading the project's source: its files, and the paths (`std::fs::read`) that their code names.
//!
//! What code shows is what its public items say before their bodies: whoever uses them has to know it.
//!
//! Code is read as tokens, so comments and strings name nothing, and `use std::{fs, io}` names `std::fs`. What stands
//! under `#[cfg(test)]` is left out, as are files of tests alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path that code names, and the line where it begins.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

impl Named {
    /// Whether these segments follow each other anywhere in the path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let wanted: Vec<&str> = path.split("::").collect();
        self.segments.windows(wanted.len()).any(|part| part == wanted)
    }
}

/// Every path that the code names outside its tests.
///
/// # Errors
/// Says that the text is not Rust.
pub(crate) fn named(code: &str) -> Result<Vec<Named>, String> {
    let tokens = TokenStream::from_str(code).map_err(|error| format!("is not Rust: {error}"))?;
    let mut found = Vec::new();
    collect(tokens, &[], &mut found);
    Ok(found)
}

/// Every path that public items show: in a signature, in the type of a field, in a variant, behind a `pub use`.
///
/// # Errors
/// Says that the text is not Rust.
pub(crate) fn shown(code: &str) -> Result<Vec<Named>, String> {
    let tokens = TokenStream::from_str(code).map_err(|error| format!("is not Rust: {error}"))?;
    let mut found = Vec::new();
    show(tokens, &mut found);
    Ok(found)
}

/// The files below a folder (or the file itself) with this extension, in order, build output left out.
///
/// # Errors
/// Says which folder or file cannot be read.
pub(crate) fn files(at: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", at.display());
    if fs::metadata(at).map_err(unreadable)?.is_file() {
        return Ok(if at.extension().is_some_and(|own| own == extension) { vec![at.into()] } else { vec![] });
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(at).map_err(unreadable)?.collect();
    let mut entries: Vec<PathBuf> =
        entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    entries.retain(|path| !is_output(path));
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        found.extend(files(&entry, extension)?);
    }
    Ok(found)
}

/// Whether a file holds nothing but tests, by its path within its crate.
pub(crate) fn is_tests(file: &Path) -> bool {
    file.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"))
        || file.components().any(|part| part.as_os_str() == "tests")
}

fn is_output(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ["target", "node_modules", ".git", "data"].iter().any(|output| name == *output) || path.is_symlink()
}

/// Walks the tokens; inside the braces of a `use`, every path continues `prefix`.
fn collect(tokens: TokenStream, prefix: &[String], found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            TokenTree::Punct(_) if is_test_attribute(&tokens[at..]) => at + item_length(&tokens[at..]),
            TokenTree::Ident(_) => at + path(&tokens[at..], prefix, found),
            TokenTree::Group(group) => {
                collect(group.stream(), &[], found);
                at + 1
            }
            _ => at + 1,
        };
    }
}

/// Takes the path that begins the tokens, and says how many of them it was.
fn path(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<Named>) -> usize {
    let line = tokens[0].span().start().line;
    let mut segments = prefix.to_vec();
    segments.push(tokens[0].to_string());
    let mut length = 1;
    while let [TokenTree::Punct(first), TokenTree::Punct(second), next, ..] = &tokens[length..]
        && first.as_char() == ':'
        && second.as_char() == ':'
    {
        match next {
            TokenTree::Ident(segment) => segments.push(segment.to_string()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                collect(group.stream(), &segments, found);
                return length + 3;
            }
            _ => break,
        }
        length += 3;
    }
    found.push(Named { segments, line });
    length
}

/// Walks the tokens for public items; those within others are found by themselves.
fn show(tokens: TokenStream, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            TokenTree::Punct(_) if is_test_attribute(&tokens[at..]) => at + item_length(&tokens[at..]),
            TokenTree::Ident(word) if word == "pub" && !is_parenthesis(tokens.get(at + 1)) => {
                let length = signature_length(&tokens[at..]);
                collect(tokens[at..at + length].iter().cloned().collect(), &[], found);
                at + length
            }
            TokenTree::Group(group) => {
                show(group.stream(), found);
                at + 1
            }
            _ => at + 1,
        };
    }
}

/// A function's or a structure's ends before its body; the body of an enumeration or a trait shows all of itself, as
/// does the list of a `pub use`. A field's ends at the comma behind its type.
fn signature_length(tokens: &[TokenTree]) -> usize {
    let shows_its_body = ["enum", "trait", "use"].iter().any(|word| tokens[1].to_string() == *word);
    let (mut depth, mut last) = (0, ' ');
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return if shows_its_body { at + 1 } else { at };
            }
            TokenTree::Punct(punct) => {
                match punct.as_char() {
                    ';' => return at,
                    '<' => depth += 1,
                    // Not that of an arrow.
                    '>' if last != '-' => depth -= 1,
                    ',' if depth <= 0 => return at,
                    _ => {}
                }
                last = punct.as_char();
            }
            _ => last = ' ',
        }
    }
    tokens.len()
}

/// Whether it stands behind `pub` in `pub(crate)`.
fn is_parenthesis(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}

fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(hash), TokenTree::Group(group), ..] if hash.as_char() == '#' && is_cfg_test(group))
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// An item ends with its first semicolon or its first braces; both stand outside other groups.
fn item_length(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens.iter().position(ends).map_or(tokens.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_that_name(path: &str, code: &str) -> Vec<usize> {
        named(code).unwrap().iter().filter(|named| named.contains(path)).map(|named| named.line).collect()
    }

    #[test]
    fn a_path_is_found_however_it_is_written() {
        for code in [
            "use std::fs;",
            "use std::{io, fs};",
            "use std::{io::{self, Read}, fs::{File, read}};",
            "use ::std::fs as files;",
            "fn f() { let _ = std :: fs :: read(\"x\"); }",
            "fn f() { g(&[std::fs::read::<u8>]) }",
            "m! { std::fs }",
            "#[a(std::fs)] struct S;",
        ] {
            assert!(!lines_that_name("std::fs", code).is_empty(), "{code}");
        }
    }

    #[test]
    fn what_is_no_code_of_the_program_names_nothing() {
        for code in [
            "// std::fs",
            "//! std::fs\n/// [`std::fs`]\nfn f() {}",
            "/* /* std::fs */ std::fs */",
            "const S: &str = \"std::fs\"; const R: &str = r#\"std::fs\"#;",
            "use my::std_fs; use std::fs_more; use fs::std;",
            "#[cfg(test)] mod tests { use std::fs; }",
            "#[cfg(test)]\n#[allow(unused)]\nuse std::fs;",
        ] {
            assert_eq!(lines_that_name("std::fs", code), [0; 0], "{code}");
        }
    }

    #[test]
    fn what_is_public_shows_its_types_and_what_is_not_does_not() {
        let shows = |code: &str| shown(code).unwrap().iter().any(|named| named.contains("Client"));
        for code in [
            "pub use client::Client;",
            "pub use client::{Error, Client};",
            "pub fn f(a: u8, client: Client) {}",
            "impl S { pub async fn f(&self) -> Result<Option<u8>, Client> { todo!() } }",
            "pub struct S { a: u8, pub b: HashMap<u8, Client>, }",
            "pub enum E { A(u8), B { client: Client } }",
            "pub trait T { fn f(&self) -> Client; }",
            "pub type A = Vec<Client>;",
            "mod m { pub const C: Client = Client::new(); }",
        ] {
            assert!(shows(code), "{code}");
        }
        for code in [
            "use client::Client;",
            "pub(crate) fn f(client: Client) {}",
            "fn f(client: Client) {}",
            "pub fn f() { let client = Client::new(); }",
            "pub struct S { a: u8, client: Client }",
            "pub struct S { pub a: u8, pub(crate) client: Client }",
            "enum E { A(Client) }",
            "/// See [`Client`].\npub fn f() {}",
            "#[cfg(test)] mod tests { pub fn f(client: Client) {} }",
        ] {
            assert!(!shows(code), "{code}");
        }
    }

    #[test]
    fn a_finding_has_its_line_and_code_after_tests_still_counts() {
        let code = "#[cfg(test)]\nmod tests;\n\nuse std::{\n    io,\n    fs,\n};\n";
        assert_eq!(lines_that_name("std::fs", code), [6]);
    }

    #[test]
    fn files_of_tests_are_told_by_their_place() {
        let is = |path| is_tests(Path::new(path));
        assert!(
            is("src/tests.rs")
                && is("src/config/tests.rs")
                && is("src/config_tests.rs")
                && is("tests/kill.rs")
        );
        assert!(!is("src/contests.rs") && !is("src/config.rs") && !is("src/testing.rs"));
    }
}
