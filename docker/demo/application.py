"""An application that sends one mail by the mail server at 127.0.0.1:2525 and knows nothing of DKIM."""

import smtplib
import socket
from email.message import EmailMessage

mail = EmailMessage()
mail["From"] = "Shop <orders@example.com>"
mail["To"] = "someone@receiver.example"
mail["Subject"] = "Your order"
mail.set_content("It is on its way. Grüße!\n")

with smtplib.SMTP("127.0.0.1", 2525, local_hostname=socket.gethostname()) as server:
    server.send_message(mail, from_addr="www-data@" + socket.gethostname())
print("sent", flush=True)
