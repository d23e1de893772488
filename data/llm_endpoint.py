"""A chat endpoint in OpenAI's style, asked carefully: bounded in requests, tokens and rate, patient with faults.

Nothing here says the key or the address: neither messages nor what is written to a disk has them.
"""

import threading
import time
import urllib.parse

import requests

from core.waits import pause_before
from utils import UsageError, shortened

# Answers that another try may change; 408 and 409 are how some gateways say so.
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
# It says no to these very texts: too long, or not allowed there. Or to all, where it has answered nothing yet.
REFUSED = (400, 413, 422)
EMPTY = "its answer is empty"
# Seconds: the first pause between tries, each next one being twice as long, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Failures one behind the other, over all requests, after which the endpoint is taken for broken.
MOST_FAILURES = 20


class OutOfBudget(Exception):
    """A limit of requests, tokens or cost is reached."""


class NoAnswer(Exception):
    """These texts get no answer, though others do; `usage`: tokens that it took all the same."""

    def __init__(self, why, usage=(0, 0)):
        super().__init__(why)
        self.usage = usage


class NoFirstAnswer(UsageError):
    """What was asked before anything was answered gets no answer: these texts, or all, will not do."""


class Budget:
    """What may still be spent; for several threads.

    Args:
        requests (int | None): at most so many, tries that fail included; None: any number.
        tokens (int | None): at most so many, of prompts and answers together, as the endpoint counts them.
        cost (float | None): at most so much, in the unit of the prices.
        prices (tuple[float, float]): of a million tokens of prompts, and of answers.
        used (tuple[int, int]): tokens of prompts and answers in earlier runs.
    """

    def __init__(self, requests=None, tokens=None, cost=None, prices=(0.0, 0.0), used=(0, 0)):
        self.limits, self.prices, self.lock = (requests, tokens, cost), prices, threading.Lock()
        self.requests, self.prompt_tokens, self.answer_tokens = 0, *used

    @property
    def cost(self):
        return (self.prompt_tokens * self.prices[0] + self.answer_tokens * self.prices[1]) / 1e6

    def take_request(self):
        """Count a request that is about to be sent.

        Raises:
            OutOfBudget: it would be one too many.
        """
        with self.lock:
            used = (self.requests, self.prompt_tokens + self.answer_tokens, self.cost)
            for name, amount, limit in zip(("max_requests", "max_tokens", "max_cost"), used, self.limits):
                if limit is not None and amount >= limit:
                    raise OutOfBudget(f"--{name} {limit:g} is reached")
            self.requests += 1

    def add(self, usage):
        """Count the tokens that an answer says it took."""
        if not any(usage) and (self.limits[1] is not None or self.limits[2] is not None):
            raise UsageError(
                "--max_tokens, --max_cost: the endpoint does not say how many tokens an answer took (usage), so that "
                "no limit of them can hold; use --max_requests"
            )
        with self.lock:
            self.prompt_tokens += usage[0]
            self.answer_tokens += usage[1]


class Rate:
    """Lets requests through so that a minute has at most so many; 0: any number."""

    def __init__(self, per_minute):
        self.interval, self.lock, self.next = (60 / per_minute if per_minute else 0), threading.Lock(), 0.0

    def wait(self):
        if not self.interval:
            return
        with self.lock:
            now = time.monotonic()
            start = max(now, self.next)
            self.next = start + self.interval
        time.sleep(max(0.0, start - now))


class Endpoint:
    """Asks POST <base_url>/chat/completions.

    Args:
        base_url (str): such as http://127.0.0.1:8000/v1.
        model (str): its name there.
        key (str | None): sent as a bearer token.
        budget (Budget): see there.
        rate (Rate): see there.
        temperature (float): 0: the most probable answer.
        timeout (float): seconds that an answer may take.
        retries (int): further tries of a request.
        pause (float): seconds before the second try.
    """

    def __init__(self, base_url, model, key, budget, rate, temperature=0.0, timeout=120, retries=6, pause=FIRST_PAUSE):
        self.url, self.model, self.key = f"{base_url.rstrip('/')}/chat/completions", model, key
        self.budget, self.rate, self.temperature = budget, rate, temperature
        self.timeout, self.retries, self.pause, self.failures, self.end = timeout, retries, pause, 0, None
        self.answers = 0
        self.local = threading.local()

    def ask(self, messages, seed=None):
        """One answer.

        Args:
            messages (list[dict]): role and content.
            seed (int | None): for endpoints that take one.

        Returns:
            tuple[str, tuple[int, int]]: its text; tokens of prompt and answer, (0, 0) where it does not say.

        Raises:
            OutOfBudget: see Budget.
            NoAnswer: it refuses these texts, or says nothing of them, and has answered others.
            UsageError: it refuses all, or fails again and again.
        """
        body = {"model": self.model, "messages": messages, "temperature": self.temperature}
        if seed is not None:
            body["seed"] = seed
        for attempt in range(self.retries + 1):
            self.rate.wait()
            if self.end:  # another thread's request has shown that none will do
                raise UsageError(self.end)
            self.budget.take_request()
            problem, response = self._try(body)
            if problem is None:
                self.failures, self.answers = 0, self.answers + 1
                usage = usage_of(response)
                try:
                    self.budget.add(usage)
                except UsageError as error:
                    self.end = str(error)
                    raise
                return text_of(response), usage
            self.failures += 1
            if attempt == self.retries or self.failures >= MOST_FAILURES:
                self.end = (
                    f"--base_url: {problem} (tried {attempt + 1} times); what is answered is kept, and the same "
                    "command goes on with the rest"
                )
                raise (NoFirstAnswer if problem == EMPTY else UsageError)(self.end)
            time.sleep(self._pause_before(attempt, response))
        raise AssertionError

    def _try(self, body):
        """What went wrong, or None, and the answer: parsed where nothing did."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
        try:
            # A proxy knows nothing of this machine's loopback.
            self.local.session.trust_env = urllib.parse.urlsplit(self.url).hostname not in LOOPBACK
            response = self.local.session.post(self.url, json=body, headers=headers, timeout=self.timeout)
        except requests.Timeout:
            return "no answer in time; see --timeout", None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return "no connection, or it broke", None
        except (requests.RequestException, ValueError):
            raise UsageError("--base_url: not an address; give one such as http://127.0.0.1:8000/v1") from None
        if response.status_code in RETRIED:
            return f"it answers {response.status_code}", response
        if response.status_code in REFUSED and self.answers:
            raise NoAnswer(self._refusal(response))
        if response.status_code != 200:
            self.end = self._refusal(response)
            raise (NoFirstAnswer if response.status_code in REFUSED else UsageError)(self.end)
        try:
            content = response.json()
            if not content["choices"] or content["choices"][0]["message"]["content"] is None:
                if not self.answers:
                    return EMPTY, None
                usage = usage_of(content)
                if any(usage):
                    self.budget.add(usage)
                raise NoAnswer(EMPTY, usage)
            if isinstance(content["choices"][0]["message"]["content"], str):
                return None, content
        except (ValueError, KeyError, TypeError, IndexError):
            pass
        return "its answer is cut short or is none in OpenAI's style", None

    def _refusal(self, response):
        key = "the key" if self.key else "no key was sent: its variable is empty or not set. That"
        hints = {
            401: f"{key} is not accepted; correct the variable that --api_key_env names",
            403: f"{key} may not do that; correct the variable that --api_key_env names, or --model",
            404: "there is no such model or address; correct --model, or --base_url, which ends in /v1 for most",
        }
        said = shortened(" ".join(response.text.split()), 200)
        for secret in (self.key, self.url, self.url.removesuffix("/chat/completions")):
            said = said.replace(secret, "…") if secret else said
        return f"--base_url: it answers {response.status_code}: {hints.get(response.status_code, said or 'no reason')}"

    def _pause_before(self, attempt, response):
        return pause_before(attempt + 1, response, self.pause, LONGEST_PAUSE)


def text_of(content):
    """The text of an answer."""
    return content["choices"][0]["message"]["content"]


def usage_of(content):
    """Tokens of prompt and answer, as far as an answer says."""
    usage = content.get("usage") if isinstance(content.get("usage"), dict) else {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return tuple(count if isinstance(count, int) and count >= 0 else 0 for count in counts)
