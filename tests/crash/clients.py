"""Sends letters by smtplib, as applications do, and writes down how each dialogue ended.

Arguments: host, port, folder. The folder holds `manifest` (number and recipients a line) and a file `NUMBER.eml` for each. A line goes to
standard output for each letter: its number, the monotonic clock in nanoseconds, and "promised", "refused" or "open" with the reply.
"""

import os
import smtplib
import sys
import time


def tell(number, how, reply=""):
    print(number, time.monotonic_ns(), how, reply.replace("\n", " "), flush=True)


def connected(host, port):
    while not os.path.exists(os.path.join(folder, "stop")):
        try:
            return smtplib.SMTP(host, port, timeout=20)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.01)
    sys.exit(0)


host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = None
for line in open(os.path.join(folder, "manifest")):
    number, *recipients = line.split()
    octets = open(os.path.join(folder, number + ".eml"), "rb").read()
    client = client or connected(host, port)
    if os.path.exists(os.path.join(folder, "stop")):
        break
    try:
        client.ehlo_or_helo_if_needed()
        code, reply = client.mail("app@example.com")
        for recipient in recipients if code == 250 else []:
            code, reply = client.rcpt(recipient)
            if code != 250:
                break
        if code == 250:
            code, reply = client.data(octets)
        tell(number, "promised" if code == 250 else "refused", f"{code} {reply.decode()}")
        if code == 421:
            client.close()
            client = None
        elif code != 250:
            client.rset()
    except smtplib.SMTPResponseException as refusal:
        tell(number, "refused", f"{refusal.smtp_code} {refusal.smtp_error!r}")
        client.close()
        client = None
    except (OSError, smtplib.SMTPException):
        tell(number, "open")
        client.close()
        client = None
