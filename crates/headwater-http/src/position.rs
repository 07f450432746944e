//! Where an answer stands, as an opaque token: `hp1~LOG~TOPIC~PARTITION~OFFSET`.
//!
//! The log's id is part of it, so that a token from before the data was replaced is not taken for a place in the new.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use headwater::core::log::LogId;
use headwater::core::position::Position;
use headwater::core::topic::{Offset, TopicName, TopicPartition};

/// The response header that carries the position of an answer.
pub const POSITION: HeaderName = HeaderName::from_static("headwater-position");

/// A place in the source of one shard of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionToken {
    log: LogId,
    place: Option<(TopicPartition, Offset)>,
}

/// A text that is no position token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPositionToken;

impl fmt::Display for InvalidPositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no position: pass on the text of an event's id unchanged")
    }
}

impl std::error::Error for InvalidPositionToken {}

impl PositionToken {
    /// The token of an answer that one shard made.
    pub fn new(log: LogId, position: &Position) -> Self {
        let place = position.iter().next().map(|(partition, next)| (partition.clone(), next));
        Self { log, place }
    }

    /// The position, if it is one of this log.
    pub fn on(&self, log: LogId) -> Option<Position> {
        (self.log == log).then(|| self.place.iter().cloned().collect())
    }
}

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hp1~{}", self.log)?;
        match &self.place {
            Some((TopicPartition { topic, partition }, next)) => write!(f, "~{topic}~{partition}~{next}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PositionToken {
    type Err = InvalidPositionToken;

    fn from_str(text: &str) -> Result<Self, InvalidPositionToken> {
        let parts: Vec<_> = text.split('~').collect();
        match parts[..] {
            ["hp1", log] => Ok(Self { log: log_id(log)?, place: None }),
            ["hp1", log, topic, partition, next] => {
                let topic = TopicName::new(topic).map_err(|_| InvalidPositionToken)?;
                let partition = u32::try_from(number(partition)?).map_err(|_| InvalidPositionToken)?;
                Ok(Self {
                    log: log_id(log)?,
                    place: Some((topic.partition(partition), Offset(number(next)?))),
                })
            }
            _ => Err(InvalidPositionToken),
        }
    }
}

fn log_id(text: &str) -> Result<LogId, InvalidPositionToken> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(InvalidPositionToken);
    }
    u128::from_str_radix(text, 16).map(LogId).map_err(|_| InvalidPositionToken)
}

fn number(text: &str) -> Result<u64, InvalidPositionToken> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidPositionToken);
    }
    text.parse().map_err(|_| InvalidPositionToken)
}

impl IntoResponseParts for PositionToken {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let value = HeaderValue::try_from(self.to_string()).expect("names and numbers are visible ASCII");
        response.headers_mut().insert(POSITION, value);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_from_its_token_on_its_own_log_only() {
        let place = (TopicName::new("shop.items").unwrap().partition(3), Offset(42));
        for position in [Position::new(), Position::from_iter([place])] {
            let token: PositionToken = PositionToken::new(LogId(7), &position).to_string().parse().unwrap();
            assert_eq!(token.on(LogId(7)), Some(position));
            assert_eq!(token.on(LogId(8)), None);
        }
    }

    #[test]
    fn a_text_that_is_no_position_is_refused() {
        let good = format!("hp1~{:032x}~t~1~2", 1);
        assert!(good.parse::<PositionToken>().is_ok());
        let bad = [
            String::new(),
            "7".into(),
            "hp1".into(),
            good.replace("hp1", "hp2"),
            good.replace("~1~", "~+1~"),
            good.replace("~1~", "~4294967296~"),
            good.replace("~t~", "~/~"),
            format!("{good}~3"),
            good.replace('0', "z"),
        ];
        for text in bad {
            assert_eq!(text.parse::<PositionToken>(), Err(InvalidPositionToken), "{text}");
        }
    }
}
