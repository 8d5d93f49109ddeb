"""Logging in with a token: python3 tokens.py PASSWORD serve | send SUBMISSION | collect POP3

`serve` is an authorization server that knows three tokens, and prints its port; `send` and `collect` log
in with them, with Python's smtplib and poplib and with curl.
"""

import base64
import http.server
import json
import poplib
import smtplib
import ssl
import subprocess
import sys
import tempfile
import urllib.parse

OURS = {"active": True, "aud": ["posta"], "email_verified": True}
KNOWN = {
    "good+/=token": {**OURS, "email": "ana@x.test"},
    "stale": {**OURS, "email": "ana@x.test", "active": False},
    "stranger": {**OURS, "email": "eva@z.test"},
    "shop": {**OURS, "email": "ana@x.test", "aud": "shop"},
}
AUTHORIZATION = "Basic " + base64.b64encode(b"posta:s3cret").decode()


class Introspection(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        token = urllib.parse.parse_qs(body)["token"][0]
        status = 200 if self.headers["authorization"] == AUTHORIZATION else 401
        answer = json.dumps(KNOWN.get(token, {"active": False})).encode()
        self.send_response(status if token != "broken" else 500)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def any_certificate():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def said_by_client(mechanism, name, token):
    auth = f"auth=Bearer {token}\x01\x01"
    message = f"user={name}\x01{auth}" if mechanism == "XOAUTH2" else f"n,a={name},\x01host=h\x01{auth}"
    return base64.b64encode(message.encode()).decode()


def attempt(place, mechanism, name, token):
    """What the server says in the end."""
    host, port = place.split(":")
    client = smtplib.SMTP(host, int(port))
    client.ehlo("c.test")
    assert mechanism not in client.esmtp_features.get("auth", ""), "offered in plaintext"
    client.starttls(context=any_certificate())
    client.ehlo("c.test")
    assert mechanism in client.esmtp_features["auth"]
    code, said = client.docmd("AUTH", mechanism + " " + said_by_client(mechanism, name, token))
    if code == 334:
        assert json.loads(base64.b64decode(said))["status"] == "invalid_token"
        code, said = client.docmd(base64.b64encode(b"\x01").decode())
    if code == 235:
        client.sendmail("ana@x.test", ["ana@x.test"], b"Subject: token\r\n\r\nx\r\n")
    client.quit()
    return code


def send(place):
    for mechanism in ("OAUTHBEARER", "XOAUTH2"):
        assert attempt(place, mechanism, "ana@x.test", "good+/=token") == 235
        for name, token in [("ana@x.test", "stale"), ("ana@x.test", "unknown"), ("ana@x.test", "a b"),
                            ("eva@z.test", "stranger"), ("bob@x.test", "good+/=token")]:
            assert attempt(place, mechanism, name, token) == 535, (mechanism, name, token)
        assert attempt(place, mechanism, "ana@x.test", "broken") == 454
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"Subject: curl\r\n\r\nx\r\n")
            file.flush()
            command = ["curl", "-sS", "--insecure", "--ssl-reqd", f"smtp://{place}/c.test", "--user", "ana@x.test"]
            command += ["--oauth2-bearer", "good+/=token", "--login-options", f"AUTH={mechanism}"]
            command += ["--mail-from", "ana@x.test", "--mail-rcpt", "ana@x.test", "--upload-file", file.name]
            subprocess.run(command, check=True, timeout=30)


def opens(place, mechanism, name, token):
    """What the server says in the end."""
    host, port = place.split(":")
    client = poplib.POP3(host, int(port))
    client.stls(any_certificate())
    assert mechanism in client.capa()["SASL"]
    try:
        said = client._shortcmd(f"AUTH {mechanism} {said_by_client(mechanism, name, token)}")
        if said.startswith(b"+ "):
            assert json.loads(base64.b64decode(said[2:]))["status"] == "invalid_token"
            said = client._shortcmd(base64.b64encode(b"\x01").decode())
    except poplib.error_proto as error:
        said = error.args[0]
    client.quit()
    return said


def collect(place):
    for mechanism in ("OAUTHBEARER", "XOAUTH2"):
        assert opens(place, mechanism, "ana@x.test", "good+/=token").startswith(b"+OK 4 messages")
        for name, token in [("ana@x.test", "stale"), ("eva@z.test", "stranger"), ("bob@x.test", "good+/=token")]:
            said = opens(place, mechanism, name, token)
            assert said.startswith(b"-ERR [AUTH]"), (mechanism, name, token, said)
        assert opens(place, mechanism, "ana@x.test", "broken").startswith(b"-ERR [SYS/TEMP]")


if __name__ == "__main__":
    if sys.argv[2] == "send":
        send(sys.argv[3])
    elif sys.argv[2] == "collect":
        collect(sys.argv[3])
    else:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Introspection)
        print(server.server_port, flush=True)
        server.serve_forever()
