"""Verifies one message with dkimpy, or signs it as a stranger.

verify PORT                      prints `dkim SELECTOR DOMAIN RESULT` for each signature and `arc RESULT`
sign PORT SELECTOR DOMAIN KEY    prints the message with a DKIM signature
arc PORT SELECTOR DOMAIN KEY     prints the message with an ARC set of DOMAIN, whose chain it takes for valid
"""

import sys

import dkim
import dns.resolver

action, port = sys.argv[1], int(sys.argv[2])
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], port, 5
message = sys.stdin.buffer.read()


def txt(name, timeout=5):
    try:
        answer = resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT", raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return None
    return b"".join(answer[0].strings) if answer.rrset else None


def verify():
    verifier = dkim.DKIM(message)
    signatures = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"]
    for index, signature in enumerate(signatures):
        try:
            tags = dkim.util.parse_tag_value(signature)
        except dkim.util.InvalidTagValueList:
            tags = {b"s": b"?", b"d": b"?"}
        try:
            result = "pass" if dkim.DKIM(message).verify(idx=index, dnsfunc=txt) else "fail"
        except (dkim.DKIMException, dkim.util.InvalidTagValueList, ValueError) as error:
            result = "fail " + str(error).replace("\n", " ")
        print("dkim", tags[b"s"].decode(), tags[b"d"].decode(), result)
    status, _, reason = dkim.arc_verify(message, dnsfunc=txt)
    print("arc", status.decode() if status else "none", reason.replace("\n", " ") if status != b"pass" else "")


def sign(function):
    selector, domain, key = sys.argv[3].encode(), sys.argv[4].encode(), open(sys.argv[5], "rb").read()
    if function == "sign":
        return dkim.sign(message, selector, domain, key, canonicalize=(b"relaxed", b"relaxed")) + message
    chain = b"pass" if any(name.lower() == b"arc-seal" for name, _ in dkim.DKIM(message).headers) else b"none"
    results = b"Authentication-Results: " + domain + b"; dkim=pass header.d=foreign.example; arc=" + chain + b"\r\n"
    return b"".join(dkim.arc_sign(results + message, selector, domain, key, domain)) + message


if action == "verify":
    verify()
else:
    sys.stdout.buffer.write(sign(action))
