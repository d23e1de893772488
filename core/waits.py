"""How long to wait before a request is sent to a server again."""

import random


def pause_before(attempt, response, first, longest):
    """Seconds to wait: what the server asks for by Retry-After, else longer each time.

    Args:
        attempt (int): the try that follows, from 1, which is the second one.
        response: of the try that failed, with headers; None where there was no answer.
        first (float): seconds before try 1, each next pause being twice as long.
        longest (float): seconds, whatever the server asks for.
    """
    wish = response.headers.get("Retry-After", "") if response is not None else ""
    pause = float(wish) if wish.replace(".", "", 1).isdigit() else first * 2 ** (attempt - 1)
    # Requests that were refused together shall not come back together.
    return min(pause, longest) * random.uniform(1, 1.25)
