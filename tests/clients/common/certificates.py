"""A certificate for the server's address, of an authority that the phones are told to trust."""

import subprocess

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def make(folder, address):
    """Writes ca.pem, certificate.pem and key.pem."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)
    openssl("req", "-x509", *CURVE, "-days", "2", "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=Tests",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign")
    openssl("req", *CURVE, "-keyout", "key.pem", "-out", "request.pem", "-subj", f"/CN={address}")
    (folder / "extensions").write_text(f"subjectAltName=IP:{address},DNS:{address}\n")
    openssl("x509", "-req", "-in", "request.pem", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca-key.pem",
            "-CAcreateserial", "-out", "certificate.pem", "-extfile", "extensions")
