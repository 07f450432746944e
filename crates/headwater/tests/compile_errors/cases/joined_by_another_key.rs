//~ neither a table nor a stream of the same keys
//~ a stream is joined with what has the same type of key
use headwater::prelude::*;

pub fn topology(app: &mut App) {
    let orders = app.stream::<String, u64>("orders");
    let customers = app.table::<u64, String>("customers");
    let named = orders.join(&customers, |cents, name: &String| (name.clone(), *cents.value), Join::default());
    app.emitter(named.to("named"));
}
