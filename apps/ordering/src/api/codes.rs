//! The problems that only this app has; like all codes they keep their meaning.

use headwater_http::codes::Code;

/// `no-such-order` (404).
pub const NO_SUCH_ORDER: Code = Code {
    name: "no-such-order",
    status: 404,
    title: "There is no order of this id",
    remedy: "Check the id; an order exists once its POST was answered with 202.",
};

/// `order-id-taken` (409).
pub const ORDER_ID_TAKEN: Code = Code {
    name: "order-id-taken",
    status: 409,
    title: "Another order has this id",
    remedy: "Send a new order under an id of its own; repeat an id only with the same order.",
};

/// Every code of this app.
pub const ALL: &[&Code] = &[&NO_SUCH_ORDER, &ORDER_ID_TAKEN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_code() {
        let page = include_str!("../../README.md");
        for code in ALL {
            assert!(page.contains(&format!("`{}`", code.name)), "{} is missing", code.name);
        }
    }
}
