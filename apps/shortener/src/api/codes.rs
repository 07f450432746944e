//! The problems that only this app has; like all codes they keep their meaning.

use headwater_http::codes::Code;

/// `no-such-link` (404).
pub const NO_SUCH_LINK: Code = Code {
    name: "no-such-link",
    status: 404,
    title: "There is no link of this code",
    remedy: "Check the code, upper and lower case too; a link exists once its POST was answered with 201.",
};

/// `alias-taken` (409).
pub const ALIAS_TAKEN: Code = Code {
    name: "alias-taken",
    status: 409,
    title: "Another link has this alias",
    remedy: "Choose another alias; an alias is given once, also where its link is over or was deleted.",
};

/// `code-taken` (409).
pub const CODE_TAKEN: Code = Code {
    name: "code-taken",
    status: 409,
    title: "Another link has this code",
    remedy: "Ask for a short code or an alias, or for the terms that the link has.",
};

/// `link-over` (409).
pub const LINK_OVER: Code = Code {
    name: "link-over",
    status: 409,
    title: "A link to this address had this code, and is over",
    remedy: "Choose another alias, or ask for a short code: a code is given once. A deleted link comes back by making it \
             again with the terms that it had.",
};

/// `link-expired` (410).
pub const LINK_EXPIRED: Code = Code {
    name: "link-expired",
    status: 410,
    title: "The link's time is over",
    remedy: "Ask whoever gave it to you for another one.",
};

/// `link-exhausted` (410).
pub const LINK_EXHAUSTED: Code = Code {
    name: "link-exhausted",
    status: 410,
    title: "The link had all its visits",
    remedy: "Ask whoever gave it to you for another one.",
};

/// `link-deleted` (410).
pub const LINK_DELETED: Code = Code {
    name: "link-deleted",
    status: 410,
    title: "The link was deleted",
    remedy: "Ask whoever gave it to you for another one; its maker brings it back by making the same link again.",
};

/// Every code of this app.
pub const ALL: &[&Code] =
    &[&NO_SUCH_LINK, &ALIAS_TAKEN, &CODE_TAKEN, &LINK_OVER, &LINK_EXPIRED, &LINK_EXHAUSTED, &LINK_DELETED];
