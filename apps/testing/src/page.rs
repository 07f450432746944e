//! The files of a page, as they have to be served: each of them, as it is, under a strict policy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::connection::Connection;

/// What a page's policy must say, so that it loads and runs only what is its own.
const POLICY: [&str; 5] = [
    "default-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
];

/// Demands of a server that it serves every file of these folders; answers how many there are.
///
/// # Panics
///
/// If one is not served as it has to be.
#[track_caller]
pub fn is_served(address: SocketAddr, folders: &[&Path]) -> usize {
    let mut connection = Connection::open(address).expect("the server listens");
    let mut get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.answer(&request).expect("it answers")
    };
    let files: Vec<_> = folders.iter().flat_map(|folder| files(folder)).collect();
    for (name, text) in &files {
        let answer = get(&format!("/{name}"));
        assert_eq!(answer.status, 200, "{name} is not served");
        assert!(answer.body == *text, "{name} is served otherwise");
        assert_eq!(answer.header("content-type"), Some(kind(name)), "{name}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{name}");
        let policy = answer.header("content-security-policy").expect("a policy");
        for rule in POLICY {
            assert!(policy.split("; ").any(|part| part == rule), "{policy} lacks {rule}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(get("/").body, get("/index.html").body);
    files.len()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').expect("an extension").1 {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

/// The files that a browser asks for, by path.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for directory in ["", "vendor/"] {
        // Not every page brings something of others.
        let Ok(entries) = fs::read_dir(folder.join(directory)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if path.is_file() && name != "package.json" && !name.ends_with(".LICENSE") {
                files.push((format!("{directory}{name}"), fs::read(path).expect("it can be read")));
            }
        }
    }
    files
}
