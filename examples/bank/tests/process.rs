//! The program as the README runs it: a deposit outlives a kill.

use app_testing::server::Program;

#[test]
fn a_deposit_outlives_a_kill() {
    let data = tempfile::tempdir().expect("a directory");
    let program = Program::embedded("bank", env!("CARGO_BIN_EXE_bank"));
    let mut server = program.start(data.path());
    let deposit = r#"{"deposit": 500}"#;
    let deposit = format!(
        "POST /accounts/alice HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{deposit}",
        deposit.len()
    );
    let made = server.connect().answer(&deposit).expect("an answer");
    assert_eq!((made.status, made.body.as_slice()), (200, &br#"{"version":1}"#[..]));
    let receipt = made.header("headwater-receipt").expect("a receipt");
    server.kill();
    let server = program.start(data.path());
    server.ready();
    let get = format!("GET /accounts/alice HTTP/1.1\r\nhost: test\r\nheadwater-after: {receipt}\r\n\r\n");
    let (status, account) = server.connect().ask(&get).expect("an answer");
    assert_eq!((status, account.as_slice()), (200, &br#"{"balance":500}"#[..]));
}
