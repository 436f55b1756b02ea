"""Submits with smtplib in every way it has, and in some that it has not.

Arguments: the port of each listener, the authority's file, user and password. Prints a line for each case that went as it should.
"""

import email.policy
import smtplib
import ssl
import sys
from email.message import EmailMessage

plain, starttls, tls = (int(port) for port in sys.argv[1:4])
authority, user, password = sys.argv[4:7]
context = ssl.create_default_context(cafile=authority)


def message(recipient, **more):
    made = EmailMessage(policy=more.pop("policy", email.policy.SMTP))
    made["From"], made["To"], made["Subject"] = "App <app@example.com>", recipient, more.get("subject", "from smtplib")
    made.set_content(more.get("text", "Hello from Python.\n"))
    return made


def network():
    return smtplib.SMTP("127.0.0.1", plain, source_address=("127.0.0.2", 0), local_hostname="client.example.com")


def upgraded():
    client = smtplib.SMTP("127.0.0.1", starttls, local_hostname="client.example.com")
    client._host = "relay.example.com"  # the name that the certificate must prove
    client.starttls(context=context)
    return client


def implicit():
    client = smtplib.SMTP_SSL(context=context, local_hostname="client.example.com")
    client._host = "relay.example.com"
    client.connect("127.0.0.1", tls)
    return client


def expect(reply, code):
    assert reply[0] == code, reply


def plain_case(recipient):
    with network() as client:
        client.send_message(message(recipient))


def starttls_login_case(recipient):
    with upgraded() as client:
        client.user, client.password = user, password
        client.ehlo_or_helo_if_needed()
        client.auth("LOGIN", client.auth_login)
        client.send_message(message(recipient))


def implicit_plain_case(recipient):
    with implicit() as client:
        client.user, client.password = user, password
        client.ehlo_or_helo_if_needed()
        client.auth("PLAIN", client.auth_plain)
        client.send_message(message(recipient))


def login_as_it_likes_case(recipient):
    with implicit() as client:
        client.login(user, password)
        client.send_message(message(recipient))


def wrong_password_then_right_case(recipient):
    with implicit() as client:
        try:
            client.login(user, password + "!")
            raise AssertionError("taken with a wrong password")
        except smtplib.SMTPAuthenticationError as error:
            assert error.smtp_code == 535, error
        client.login(user, password)
        client.send_message(message(recipient))


def attachments_case(recipient):
    made = message(recipient, text="一百万オクテットの添付\n" * 50)
    made.add_attachment(bytes(range(256)) * 4096, maintype="application", subtype="octet-stream", filename="データ.bin")
    with network() as client:
        client.send_message(made)


def bdat_case(recipient):
    octets = message(recipient, text="Grüße in chunks\n" * 2000).as_bytes()
    with network() as client:
        client.ehlo()
        assert client.has_extn("chunking")
        expect(client.mail("app@example.com", ["BODY=8BITMIME"]), 250)
        expect(client.rcpt(recipient), 250)
        cuts = [octets[:1], octets[1:7001], octets[7001:7001], octets[7001:]]
        for chunk in cuts:
            client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
            expect(client.getreply(), 250)
        client.send(b"BDAT 0 LAST\r\n")
        expect(client.getreply(), 250)


def bdat_pipelined_case(recipient):
    octets = message(recipient).as_bytes()
    with network() as client:
        client.ehlo()
        head = "MAIL FROM:<app@example.com>\r\nRCPT TO:<%s>\r\n" % recipient
        client.send(head.encode() + b"BDAT %d\r\n" % len(octets) + octets + b"BDAT 0 LAST\r\nNOOP\r\n")
        for _ in range(5):
            expect(client.getreply(), 250)


def pipelined_case(recipient):
    octets = message(recipient).as_bytes()
    with network() as client:
        client.ehlo()
        client.send("MAIL FROM:<app@example.com>\r\nRCPT TO:<nobody@>\r\nRCPT TO:<%s>\r\nDATA\r\n" % recipient)
        for code in (250, 501, 250, 354):
            expect(client.getreply(), code)
        client.send(octets + b".\r\nNOOP\r\n")
        expect(client.getreply(), 250)
        expect(client.getreply(), 250)


def utf8_case(recipient):
    assert not recipient.isascii()
    with network() as client:
        client.send_message(message(recipient, policy=email.policy.SMTPUTF8, subject="Größe 大きい"))


def dsn_case(recipient):
    with network() as client:
        client.ehlo()
        assert client.has_extn("dsn")
        client.sendmail(
            "app@example.com",
            [recipient],
            message(recipient).as_bytes(),
            mail_options=["RET=HDRS", "ENVID=order+2B7"],
            rcpt_options=["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;First.Name@example.org"],
        )


def two_messages_in_one_connection_case(recipient):
    with network() as client:
        client.send_message(message("other@example.net"))
        client.send_message(message(recipient))


def refused(function, code, text):
    try:
        function()
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == code and text in error.smtp_error, error
    except smtplib.SMTPRecipientsRefused as error:
        refusal = next(iter(error.recipients.values()))
        assert refusal[0] == code and text in refusal[1], error
    else:
        raise AssertionError("not refused")


def bare_lf_is_refused():
    def submit():
        with network() as client:
            client.ehlo()
            client.mail("app@example.com")
            client.rcpt("you@example.net")
            expect(client.docmd("DATA"), 354)
            client.send(b"From: app@example.com\r\n\r\nsmuggled\n.\nMAIL FROM:<x@example.com>\r\n.\r\n")
            raise smtplib.SMTPDataError(*client.getreply())

    refused(submit, 550, b"5.6")


def without_tls_is_refused():
    def submit():
        with smtplib.SMTP("127.0.0.1", starttls) as client:
            client.send_message(message("you@example.net"))

    refused(submit, 530, b"STARTTLS")


def stranger_is_refused():
    def submit():
        with smtplib.SMTP("127.0.0.1", plain) as client:
            client.send_message(message("you@example.net"))

    refused(submit, 530, b"5.7.0")


def foreign_author_is_refused():
    def submit():
        made = message("you@example.net")
        made.replace_header("From", "ceo@bank.example")
        with network() as client:
            client.send_message(made, from_addr="app@example.com")

    refused(submit, 550, b"bank.example")


CASES = [
    (plain_case, "plain@example.net"),
    (starttls_login_case, "starttls-login@example.net"),
    (implicit_plain_case, "implicit-plain@example.net"),
    (login_as_it_likes_case, "login@example.net"),
    (wrong_password_then_right_case, "second-try@example.net"),
    (attachments_case, "attachments@example.net"),
    (bdat_case, "bdat@example.net"),
    (bdat_pipelined_case, "bdat-pipelined@example.net"),
    (pipelined_case, "pipelined@example.net"),
    (utf8_case, "grüße@example.net"),
    (dsn_case, "dsn@sink.example"),
    (two_messages_in_one_connection_case, "second@example.net"),
]
for case, recipient in CASES:
    try:
        case(recipient)
    except Exception as error:
        raise SystemExit(f"{case.__name__}: {error!r}")
    print("sent", recipient)
for case in (bare_lf_is_refused, without_tls_is_refused, stranger_is_refused, foreign_author_is_refused):
    try:
        case()
    except Exception as error:
        raise SystemExit(f"{case.__name__}: {error!r}")
    print("refused", case.__name__)
