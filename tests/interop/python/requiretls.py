"""A message that may never travel in plaintext (RFC 8689): python3 requiretls.py SUBMISSION"""

import smtplib
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
host, port = sys.argv[1].split(":")
client = smtplib.SMTP(host, int(port))
client.ehlo("c.test")
assert not client.has_extn("requiretls"), "offered outside TLS"
client.starttls(context=context)
client.ehlo("c.test")
assert client.has_extn("requiretls"), "not offered in TLS"
client.sendmail("ana@x.test", ["bob@y.test"], "Subject: s\r\n\r\nsecret\r\n", ["REQUIRETLS"])
client.quit()
