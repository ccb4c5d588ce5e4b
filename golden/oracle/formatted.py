"""JSON as the project's formatter writes it."""

import json
import re


def format_json(value: object) -> str:
    """Lists of numbers on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r'\[([\d,\s]+)\]', lambda match: f"[{' '.join(match[1].split())}]", text) + '\n'
