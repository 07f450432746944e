//! Every source, every precedence, every refusal: as data, through one helper.

use super::*;

/// What the sources hold: flags, environment, and the files that exist.
#[derive(Clone, Copy, Default)]
struct Sources<'a> {
    flags: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
    files: &'a [(&'a str, &'a str)],
}

impl Sources<'_> {
    fn load(self) -> Result<Config, ConfigError> {
        let args = ["app"].iter().chain(self.flags);
        Config::from_sources(args, self.env.iter().copied(), |path| {
            let file = self.files.iter().find(|(name, _)| path == Path::new(name));
            file.map(|(_, text)| text.to_string()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    #[track_caller]
    fn refused(self, kind: ConfigErrorKind, parts: &[&str]) {
        let error = self.load().unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), kind, "{message}");
        for part in parts {
            assert!(message.contains(part), "`{message}` lacks `{part}`");
        }
    }
}

fn flags<'a>(flags: &'a [&'a str]) -> Sources<'a> {
    Sources { flags, ..Sources::default() }
}

fn env<'a>(env: &'a [(&'a str, &'a str)]) -> Sources<'a> {
    Sources { env, ..Sources::default() }
}

fn file<'a>(files: &'a [(&'a str, &'a str)]) -> Sources<'a> {
    Sources { files, ..Sources::default() }
}

fn listen(port: u16) -> Config {
    Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ..Config::default() }
}

#[test]
fn without_sources_the_defaults_stand_and_help_tells_them() {
    assert_eq!(Sources::default().load().unwrap(), Config::default());
    let mut told = Config { expose: true, data: "elsewhere".into(), ..listen(1) };
    for setting in &SETTINGS {
        if let Some(default) = setting.default {
            (setting.set)(&mut told, default).unwrap();
        }
    }
    assert_eq!(told, Config::default());
}

#[test]
fn a_setting_has_one_name_in_three_spellings() {
    for setting in &SETTINGS {
        assert_eq!(setting.flag, setting.name.replace('_', "-"));
        assert_eq!(setting.variable, format!("HEADWATER_{}", setting.name.to_uppercase()));
    }
}

#[test]
fn help_names_every_flag_variable_and_default() {
    let help = flags(&["--help"]).load().unwrap_err().to_string();
    for setting in &SETTINGS {
        let default = setting.default.map(|default| format!("[default: {default}]"));
        let flag = (!setting.is_secret).then(|| format!("--{} ", setting.flag));
        let parts = [Some(setting.variable.to_owned()), default, flag];
        let help = help.replace("[=<true|false>]", " ");
        assert!(parts.iter().flatten().all(|part| help.contains(part)), "{}: {help}", setting.name);
    }
    for part in
        ["--config <FILE>", "HEADWATER_CONFIG", "no authentication yet", "each overriding the one before"]
    {
        assert!(help.contains(part), "`{help}` lacks `{part}`");
    }
}

#[test]
fn every_source_sets_every_setting() {
    let wanted = Config {
        listen: "[::1]:9000".parse().unwrap(),
        data: "/var/lib/app".into(),
        log: LogChoice::Kafka("a:9092,b:9093".into()),
        role: Role::Query,
        expose: true,
        log_format: LogFormat::Json,
        ..Config::default()
    };
    let by_flags = flags(&[
        "--listen=[::1]:9000",
        "--data",
        "/var/lib/app",
        "--log",
        "kafka://a:9092,b:9093",
        "--role",
        "query",
        "--log-format",
        "json",
        "--expose",
    ]);
    assert_eq!(by_flags.load().unwrap(), wanted);
    let by_env = env(&[
        ("HEADWATER_LISTEN", "[::1]:9000"),
        ("HEADWATER_DATA", "/var/lib/app"),
        ("HEADWATER_LOG", "kafka://a:9092,b:9093"),
        ("HEADWATER_ROLE", "query"),
        ("HEADWATER_LOG_FORMAT", "json"),
        ("HEADWATER_EXPOSE", "true"),
    ]);
    assert_eq!(by_env.load().unwrap(), wanted);
    let text = r#"
        listen = "[::1]:9000"
        data = "/var/lib/app"
        log = "kafka://a:9092,b:9093"
        role = "query"
        log_format = "json"
        expose = true
    "#;
    let by_file = file(&[("headwater.toml", text)]).load();
    assert_eq!(by_file.unwrap(), Config { file: Some("headwater.toml".into()), ..wanted });
}

#[test]
fn every_source_sets_every_setting_for_kafka() {
    let values = [
        ("log", "kafka://a:9092"),
        ("advertise", "shop-1:8080"),
        ("kafka_security", "sasl_tls"),
        ("kafka_ca", "ca.pem"),
        ("kafka_certificate", "own.pem"),
        ("kafka_key", "own.key"),
        ("kafka_sasl", "plain"),
        ("kafka_user", "alice"),
        ("kafka_password_file", "password"),
        ("kafka_plain_in_clear", "true"),
        ("kafka_replication", "5"),
        ("kafka_min_in_sync", "4"),
        ("kafka_restart_follows", "true"),
    ];
    let wanted = Config {
        log: LogChoice::Kafka("a:9092".into()),
        advertise: Some("shop-1:8080".into()),
        kafka: KafkaConfig {
            security: KafkaSecurity::SaslTls,
            ca: Some("ca.pem".into()),
            certificate: Some("own.pem".into()),
            key: Some("own.key".into()),
            sasl: SaslMechanism::Plain,
            user: Some("alice".into()),
            password: None,
            password_file: Some("password".into()),
            plain_in_clear: true,
            replication: 5,
            min_in_sync: Some(4),
            restart_follows: true,
        },
        ..Config::default()
    };
    let of = |name: &str| SETTINGS.iter().find(|setting| setting.name == name).unwrap();
    let all_flags: Vec<String> =
        values.iter().map(|(name, value)| format!("--{}={value}", of(name).flag)).collect();
    let by_flags: Vec<&str> = all_flags.iter().map(String::as_str).collect();
    assert_eq!(flags(&by_flags).load().unwrap(), wanted);
    let by_env: Vec<(&str, &str)> = values.iter().map(|(name, value)| (of(name).variable, *value)).collect();
    assert_eq!(env(&by_env).load().unwrap(), wanted);
    let bare = |value: &str| value == "true" || value.parse::<u16>().is_ok();
    let line = |(name, value): &(&str, &str)| match bare(value) {
        true => format!("{name} = {value}\n"),
        false => format!("{name} = \"{value}\"\n"),
    };
    let text: String = values.iter().map(line).collect();
    let by_file = file(&[("headwater.toml", &text)]).load().unwrap();
    assert_eq!(by_file, Config { file: Some("headwater.toml".into()), ..wanted });
    let told: std::collections::BTreeSet<&str> = values.iter().map(|(name, _)| *name).collect();
    let elsewhere = ["listen", "data", "role", "expose", "log_format", "kafka_password", "peer_secret"];
    let forgotten = SETTINGS.iter().find(|one| !told.contains(one.name) && !elsewhere.contains(&one.name));
    assert_eq!(forgotten.map(|setting| setting.name), None, "set by no test");
}

#[test]
fn the_secret_of_the_instances_is_long_and_shown_nowhere() {
    let secret = "0123456789abcdef";
    let text = format!("peer_secret = \"{secret}\"");
    let by_env = env(&[("HEADWATER_PEER_SECRET", secret)]).load().unwrap();
    let by_file = file(&[("headwater.toml", &text)]).load().unwrap();
    for config in [by_env, by_file] {
        assert_eq!(config.peer_secret.as_ref().map(Secret::reveal), Some(secret));
        assert!(!format!("{config:?}").contains(secret));
    }
    let refused = env(&[("HEADWATER_PEER_SECRET", &secret[1..])]).load().unwrap_err().to_string();
    assert!(refused.contains("too short") && !refused.contains(&secret[1..]), "{refused}");
    assert!(flags(&["--peer-secret", secret]).load().is_err(), "a flag is seen by everybody");
}

/// Settings of the environment for a Kafka log, beside the log itself.
#[track_caller]
fn kafka(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let log = ("HEADWATER_LOG", "kafka://a:9092");
    env(&settings.iter().copied().chain([log]).collect::<Vec<_>>()).load()
}

#[test]
fn a_password_is_taken_from_environment_or_file_and_shown_nowhere() {
    let user = [("HEADWATER_KAFKA_SECURITY", "sasl_tls"), ("HEADWATER_KAFKA_USER", "alice")];
    let config = kafka(&[user[0], user[1], ("HEADWATER_KAFKA_PASSWORD", "wonder")]).unwrap();
    assert_eq!(config.kafka.password, Some(Secret::new("wonder")));
    assert_eq!(config.kafka.password.as_ref().unwrap().reveal(), "wonder");
    assert!(!format!("{config:?}").contains("wonder"), "{config:?}");
    file(&[("headwater.toml", "kafka_password = 4711")]).refused(
        ConfigErrorKind::Invalid,
        &["kafka_password in headwater.toml: `(hidden)` is a TOML integer"],
    );
    for text in ["kafka_password = 4711", "kafka_password = wonder4711"] {
        let shown = file(&[("headwater.toml", text)]).load().unwrap_err().to_string();
        assert!(!shown.contains("4711"), "{shown}");
    }
    flags(&["--kafka-password", "wonder"]).refused(ConfigErrorKind::Arguments, &["--kafka-password"]);
}

#[test]
fn half_a_setting_for_kafka_is_refused() {
    const SECURITY: &str = "HEADWATER_KAFKA_SECURITY";
    let user = ("HEADWATER_KAFKA_USER", "alice");
    let password = ("HEADWATER_KAFKA_PASSWORD", "wonder");
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("HEADWATER_KAFKA_CA", "ca.pem")], "is not encrypted; set kafka_security to tls"),
        (&[(SECURITY, "tls"), ("HEADWATER_KAFKA_KEY", "own.key")], "set both or neither"),
        (&[(SECURITY, "sasl_tls"), user], "user or password is missing"),
        (&[(SECURITY, "sasl_tls"), password], "user or password is missing"),
        (&[user], "kafka_security sends none"),
        (&[(SECURITY, "tls"), password], "kafka_security sends none"),
        (
            &[(SECURITY, "sasl_tls"), user, password, ("HEADWATER_KAFKA_PASSWORD_FILE", "password")],
            "take one of them away",
        ),
        (
            &[(SECURITY, "sasl_plaintext"), user, password, ("HEADWATER_KAFKA_SASL", "plain")],
            "readable for everyone",
        ),
        (
            &[("HEADWATER_KAFKA_REPLICATION", "1"), ("HEADWATER_KAFKA_MIN_IN_SYNC", "2")],
            "no record could ever be acknowledged",
        ),
    ];
    for (settings, part) in cases {
        let error = kafka(settings).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Incomplete);
        assert!(error.to_string().contains(part), "`{error}` lacks `{part}`");
    }
    kafka(&[
        (SECURITY, "sasl_plaintext"),
        user,
        password,
        ("HEADWATER_KAFKA_SASL", "plain"),
        ("HEADWATER_KAFKA_PLAIN_IN_CLEAR", "true"),
    ])
    .unwrap();
    env(&[user]).load().unwrap();
}

#[test]
fn one_replica_is_asked_for_by_one_setting() {
    let in_sync = |settings: &[(&str, &str)]| kafka(settings).unwrap().kafka.min_in_sync();
    assert_eq!(in_sync(&[]), 2);
    assert_eq!(in_sync(&[("HEADWATER_KAFKA_REPLICATION", "1")]), 1);
    assert_eq!(in_sync(&[("HEADWATER_KAFKA_REPLICATION", "2")]), 2);
    assert_eq!(in_sync(&[("HEADWATER_KAFKA_MIN_IN_SYNC", "1")]), 1);
}

#[test]
fn a_later_source_overrides_an_earlier_one() {
    let files = &[("headwater.toml", "listen = \"127.0.0.1:1\"\nexpose = true")];
    let environment = &[("HEADWATER_LISTEN", "127.0.0.1:2")];
    let port = |sources: Sources| sources.load().unwrap().listen.port();
    assert_eq!(port(Sources { files, ..Sources::default() }), 1);
    assert_eq!(port(Sources { files, env: environment, ..Sources::default() }), 2);
    assert_eq!(port(Sources { files, env: environment, flags: &["--listen", "127.0.0.1:3"] }), 3);
    assert!(!Sources { files, flags: &["--expose=false"], ..Sources::default() }.load().unwrap().expose);
}

#[test]
fn the_file_is_the_one_that_the_flag_or_the_environment_names() {
    let files = &[
        ("headwater.toml", "listen = \"127.0.0.1:1\""),
        ("env.toml", "listen = \"127.0.0.1:2\""),
        ("flag.toml", "listen = \"127.0.0.1:3\""),
    ];
    let environment = &[("HEADWATER_CONFIG", "env.toml")];
    let loaded = |flags, env| Sources { flags, env, files }.load().unwrap();
    assert_eq!(loaded(&[], &[]), Config { file: Some("headwater.toml".into()), ..listen(1) });
    assert_eq!(loaded(&[], environment), Config { file: Some("env.toml".into()), ..listen(2) });
    assert_eq!(
        loaded(&["--config", "flag.toml"], environment),
        Config { file: Some("flag.toml".into()), ..listen(3) }
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    use ConfigErrorKind::File;
    flags(&["--config", "gone.toml"]).refused(File, &["gone.toml", "cannot be read"]);
    env(&[("HEADWATER_CONFIG", "gone.toml")]).refused(File, &["gone.toml"]);
    env(&[("HEADWATER_CONFIG", "")]).refused(File, &["cannot be read"]);
    file(&[("headwater.toml", "role = [")]).refused(File, &["headwater.toml is not", "line 1"]);
    let denied =
        Config::from_sources(["app"], [("", ""); 0], |_| Err(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(denied.unwrap_err().kind(), File);
}

#[test]
fn an_unknown_name_is_an_error_with_a_suggestion() {
    use ConfigErrorKind::{Arguments, Unknown};
    env(&[("HEADWATER_LISTN", "x")]).refused(
        Unknown,
        &["environment variable `HEADWATER_LISTN` is unknown", "did you mean `HEADWATER_LISTEN`?"],
    );
    env(&[("HEADWATER_CONFIGS", "x")]).refused(Unknown, &["did you mean `HEADWATER_CONFIG`?"]);
    for (text, meant) in
        [("lisen = 1", "listen"), ("lg = 1", "log"), ("log-format = 1", "log_format"), ("[roles]", "role")]
    {
        file(&[("headwater.toml", text)])
            .refused(Unknown, &["in headwater.toml", &format!("did you mean `{meant}`?")]);
    }
    file(&[("headwater.toml", "zzz = 1")]).refused(Unknown, &["`zzz`", "known are listen, data, log, role"]);
    file(&[("headwater.toml", "config = \"x\"")]).refused(Unknown, &["`config` is unknown"]);
    flags(&["--lisen", "x"]).refused(Arguments, &["'--lisen'", "'--listen'"]);
    flags(&["start"]).refused(Arguments, &["'start'"]);
}

#[test]
fn variables_of_others_are_left_alone() {
    let loaded = env(&[("HEADWATERS", "x"), ("PATH", "x"), ("HEADWATER_BIN_ORDERING", "x")]).load();
    assert_eq!(loaded.unwrap(), Config::default());
}

#[test]
fn an_invalid_value_names_its_place_and_what_is_allowed() {
    let address = "such as 127.0.0.1:8080";
    for (name, value, allowed) in [
        ("listen", "8080", address),
        ("listen", "localhost:8080", address),
        ("listen", "127.0.0.1", address),
        ("listen", "", address),
        ("data", "", "such as ./data"),
        ("log", "disk", "allowed are embedded, memory, kafka://host:port"),
        ("log", "embeded", "did you mean `embedded`?"),
        ("log", "Memory", "did you mean `memory`?"),
        ("log", "kafka://", "wanted is kafka://host:port"),
        ("log", "kafka://host", "wanted is kafka://host:port"),
        ("log", "kafka://host:0", "wanted is kafka://host:port"),
        ("log", "kafka://host:99999", "wanted is kafka://host:port"),
        ("log", "kafka://:9092", "wanted is kafka://host:port"),
        ("log", "kafka://a:1,", "wanted is kafka://host:port"),
        ("log", "kafka://user@a:1", "wanted is kafka://host:port"),
        ("role", "writer", "allowed are all, command, query"),
        ("role", "commands", "did you mean `command`?"),
        ("log_format", "xml", "allowed are text, json"),
        ("expose", "yes", "allowed are true, false"),
        ("advertise", "shop-1", "wanted is host:port"),
        ("kafka_security", "ssl", "did you mean `tls`? allowed are plaintext, tls, sasl_plaintext, sasl_tls"),
        ("kafka_security", "SASL_SSL", "did you mean `sasl_tls`?"),
        ("kafka_security", "PLAINTEXT", "did you mean `plaintext`?"),
        ("kafka_sasl", "scram", "allowed are scram-sha-512, plain"),
        ("kafka_ca", "", "wanted is a file"),
        ("kafka_user", "", "is empty"),
        ("kafka_replication", "0", "a number from 1 to 100"),
        ("kafka_min_in_sync", "two", "a number from 1 to 100"),
    ] {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        let quoted = format!("`{value}`");
        let flag = format!("--{}={value}", setting.flag);
        let by_flag = format!("flag --{}: ", setting.flag);
        flags(&[&flag]).refused(ConfigErrorKind::Invalid, &[&by_flag, &quoted, allowed]);
        let by_variable = format!("environment variable {}: ", setting.variable);
        env(&[(setting.variable, value)])
            .refused(ConfigErrorKind::Invalid, &[&by_variable, &quoted, allowed]);
    }
    file(&[("headwater.toml", "role = \"writer\"")]).refused(
        ConfigErrorKind::Invalid,
        &["key role in headwater.toml: `writer`", "allowed are all, command, query"],
    );
}

#[test]
fn a_value_of_another_type_in_the_file_says_what_is_wanted() {
    for (text, parts) in [
        ("listen = 8080", ["key listen in headwater.toml: `8080` is a TOML integer", "a string, in quotes"]),
        ("expose = \"true\"", ["is a TOML string", "true or false, without quotes"]),
        ("role = true", ["is a TOML boolean", "a string, in quotes"]),
        ("kafka_replication = \"3\"", ["is a TOML string", "a number, without quotes"]),
        ("[data]", ["is a TOML table", "a string, in quotes"]),
    ] {
        file(&[("headwater.toml", text)]).refused(ConfigErrorKind::Invalid, &parts);
    }
}

#[test]
fn an_invalid_value_is_an_error_also_where_a_later_source_overrides_it() {
    Sources { flags: &["--role", "all"], env: &[("HEADWATER_ROLE", "writer")], files: &[] }
        .refused(ConfigErrorKind::Invalid, &["environment variable HEADWATER_ROLE"]);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![b'a', 0xff]);
    let error =
        Config::from_sources(["app"], [("HEADWATER_ROLE", value)], |_| unreachable!("no file is asked for"));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("environment variable HEADWATER_ROLE: `a\u{fffd}` is not UTF-8")
    );
}

#[test]
fn listening_beyond_loopback_is_refused_unless_asked_for() {
    for address in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80", "[::ffff:192.0.2.1]:80"] {
        let parts =
            ["flag --listen: ", address, "no authentication yet", "listen on 127.0.0.1:80", "add --expose"];
        flags(&["--listen", address]).refused(ConfigErrorKind::Exposed, &parts);
        assert!(flags(&["--listen", address, "--expose"]).load().unwrap().expose);
    }
    for address in ["127.0.0.1:80", "127.8.8.8:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert_eq!(flags(&["--listen", address]).load().unwrap().listen.to_string(), address);
    }
    file(&[("headwater.toml", "listen = \"0.0.0.0:80\"")])
        .refused(ConfigErrorKind::Exposed, &["key listen in headwater.toml: 0.0.0.0:80"]);
}

#[test]
fn an_application_adds_its_own_flags_and_subcommands() {
    let command =
        Config::command().name("app").arg(Arg::new("seed").long("seed")).subcommand(Command::new("check"));
    command.clone().debug_assert();
    let matches = command.try_get_matches_from(["app", "--role", "query", "--seed", "7", "check"]).unwrap();
    let config =
        Config::from_matches(&matches, [("", ""); 0], |_| Err(io::ErrorKind::NotFound.into())).unwrap();
    assert_eq!((config.role, matches.subcommand_name()), (Role::Query, Some("check")));
}
