//! The names of the metrics that servers record; those of the core are in `headwater::metric_names`.

headwater::metric_names! {
    HTTP_CONNECTIONS = Gauge "headwater_http_connections", "connections", [],
        "Connections open.";
    HTTP_CONNECTIONS_CLOSED = Counter "headwater_http_connections_closed_total", "connections", ["reason"],
        "Connections closed by the server, by reason: evicted, unused, slow-head, stalled-write, lingered, aborted or refused.";
    HTTP_REQUESTS = Counter "headwater_http_requests_total", "requests", ["method", "route", "status"],
        "Requests answered, by class of status, or aborted by the client or a panic.";
    HTTP_REQUEST_DURATION = Histogram "headwater_http_request_duration_seconds", "seconds", ["method", "route"],
        "Time from a request's head to its answer's head.";
    HTTP_EVENT_STREAMS = Gauge "headwater_http_event_streams", "streams", [],
        "Server-sent event streams open.";
}
