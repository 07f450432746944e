//! A link as it is now.

use headwater_http::headers::Behind;
use headwater_http::problem::Problem;
use headwater_http::refusals::{of_query, of_send};

use crate::domain::{Code, Link};
use crate::instance::Instance;

/// The link's own state wherever it is decided, so that it is there, everywhere, as soon as its POST is answered.
///
/// An instance that neither decides commands nor knows of one that does tells what its view has.
pub(super) async fn committed(instance: &Instance, code: &Code) -> Result<(Behind, Link), Problem> {
    if instance.parts.commands || instance.running.is_one_of_several() {
        let (_, link) = instance.running.state(&instance.links, code).await.map_err(of_send)?;
        return Ok((Behind::silence(instance.running.log_silence()), link));
    }
    let answer =
        instance.running.view(&instance.listed).map_err(of_query)?.get(code).await.map_err(of_query)?;
    let behind = Behind::from(&answer);
    Ok((behind, answer.value.unwrap_or_default()))
}
