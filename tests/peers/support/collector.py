"""A collector of traces: takes what OpenTelemetry's own definition of OTLP takes, and nothing else. Prints its port, then a line a span."""

import base64
import http.server
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def with_octets(value):
    """OTLP writes ids in hexadecimal digits where protobuf's JSON has base64."""
    if isinstance(value, list):
        return [with_octets(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
    for key, octets in ids.items():
        if key in value:
            raw = bytes.fromhex(value[key])
            assert len(raw) == octets and any(raw), (key, value[key])
            value[key] = base64.b64encode(raw).decode()
    return {key: with_octets(item) for key, item in value.items()}


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            # Unknown fields, wrong types and numbers out of range are errors.
            request = json_format.ParseDict(with_octets(body), ExportTraceServiceRequest())
        except Exception as error:
            print("refused", error, flush=True)
            self.answer(400)
            return
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    print("span", span.name, span.trace_id.hex(), span.parent_span_id.hex() or "-", span.kind, span.status.code, len(span.events), flush=True)
        self.answer(200)

    def answer(self, code):
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector)
print("listening", flush=True)
server.serve_forever()
