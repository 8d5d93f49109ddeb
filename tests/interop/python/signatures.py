"""opendkim and dkimpy verify our signatures, and sign messages for us to verify:
/usr/bin/python3 signatures.py DIRECTORY

DIRECTORY has keys (a record a line), r.pem and e.seed (private keys), and messages in plain, ours
(signed by us) and sealed (with two sets of ARC). What others sign goes into dkimpy, opendkim and
dkimpy-sealed.
"""

import os
import re
import shutil
import subprocess
import sys

try:
    import dkim
    import authres  # noqa: F401
    import nacl  # noqa: F401
except ImportError:
    print("dkimpy is not there: apt-get install python3-dkim python3-nacl python3-authres")
    sys.exit(77)
if not shutil.which("opendkim"):
    print("opendkim is not there: apt-get install opendkim")
    sys.exit(77)

DIRECTORY = sys.argv[1]
FORMS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]


def place(*names):
    return os.path.join(DIRECTORY, *names)


def read(*names):
    with open(place(*names), "rb") as file:
        return file.read()


def write(octets, *names):
    with open(place(*names), "wb") as file:
        file.write(octets)


RECORDS = dict(line.split(b" ", 1) for line in read("keys").splitlines())
FILES = sorted(os.listdir(place("plain")))
RSA, SEED = read("r.pem"), read("e.seed")


def record(name, timeout=5):
    return RECORDS.get(name.rstrip(b"."))


def dkimpy_verifies():
    for file in FILES:
        message = dkim.DKIM(read("ours", file))
        for index in range(2):
            assert message.verify(index, dnsfunc=record), (file, index)
        cv, _, reason = dkim.arc_verify(read("sealed", file), dnsfunc=record)
        assert cv == b"pass", (file, cv, reason)


def dkimpy_signs():
    for number, file in enumerate(FILES):
        message = read("plain", file)
        forms = tuple(FORMS[number % 4].encode().split(b"/"))
        selector, key, algorithm = (
            (b"r", RSA, b"rsa-sha256") if number % 3 else (b"e", SEED, b"ed25519-sha256")
        )
        field = dkim.sign(
            message,
            selector,
            b"x.test",
            key,
            canonicalize=forms,
            signature_algorithm=algorithm,
            length=number % 5 == 0,
        )
        write(field + message, "dkimpy", file)
        message = b"Authentication-Results: mx.x.test; dkim=none\r\n" + message
        fields = dkim.arc_sign(message, b"r", b"x.test", RSA, b"mx.x.test")
        assert len(fields) == 3, file
        write(b"".join(fields) + message, "dkimpy-sealed", file)


def opendkim(configuration, files):
    """Runs opendkim over messages. Returns the fields that it would add, one for each."""
    write(configuration.encode(), "opendkim.conf")
    ran = subprocess.run(
        ["opendkim", "-v", "-v", "-x", place("opendkim.conf"), "-t", ",".join(files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=300,
    )
    said = ran.stdout.decode("utf-8", "surrogateescape")
    fields = re.findall(r"^### INSHEADER: idx=\d+ hname='([^']*)' hvalue='(.*?)'$", said, re.M | re.S)
    assert len(fields) == len(files), (len(fields), len(files), ran.stderr[:2000])
    return fields


def opendkim_verifies():
    configuration = f"Mode v\nTestPublicKeys {place('keys')}\nAlwaysAddARHeader yes\nAuthservID me.test\n"
    fields = opendkim(configuration, [place("ours", file) for file in FILES])
    for file, (_, results) in zip(FILES, fields):
        assert results.count("dkim=pass") == 2, (file, results)


def tame(message):
    """Fields as `Name: value`: opendkim takes what stands behind the colon without the white space at its
    beginning, as from a milter, and so signs other fields than these in a simple form wrongly."""
    header, body = message.split(b"\r\n\r\n", 1)
    fields = re.split(rb"\r\n(?![ \t])", header)
    fields = [re.sub(rb"^([^:]*):[ \t\r\n]*", rb"\1: ", field) for field in fields]
    return b"\r\n".join(field for field in fields if not field.endswith(b": ")) + b"\r\n\r\n" + body


def opendkim_signs():
    for turn, forms in enumerate(FORMS):
        files = FILES[turn::4]
        if forms.startswith("simple"):
            for file in files:
                write(tame(read("plain", file)), "plain", file)
        configuration = (
            f"Mode s\nDomain x.test\nSelector r\nKeyFile {place('r.pem')}\nCanonicalization {forms}\n"
            "OversignHeaders From,Subject,To\nRequireSafeKeys false\n"
        )
        fields = opendkim(configuration, [place("plain", file) for file in files])
        for file, (name, value) in zip(files, fields):
            assert name == "DKIM-Signature", (file, name)
            field = f"{name}: {value}\r\n".replace("\r\n", "\n").replace("\n", "\r\n")
            write(field.encode() + read("plain", file), "opendkim", file)


dkimpy_verifies()
opendkim_verifies()
dkimpy_signs()
opendkim_signs()
print(f"{len(FILES)} messages each way with dkimpy and with opendkim")
