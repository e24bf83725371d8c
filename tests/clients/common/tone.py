"""Something to say."""

import wave


def tone(path, seconds):
    """Writes a buzz that lasts: a file that ends would end the call."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        period = b"".join(int(6000 if at < 20 else -6000).to_bytes(2, "little", signed=True) for at in range(40))
        out.writeframes(period * (200 * seconds))
