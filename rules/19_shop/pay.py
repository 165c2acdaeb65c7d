"""Stands in for Stripe: a card that has 500 on it."""

import time


def charge(order, amount, key):
    if amount > 500:
        time.sleep(0.3)  # The bank has to think; the warehouse has begun meanwhile.
        raise ValueError(f"{amount} is too much")
    return {"receipt": f"R{order}"}


def refund(order):
    return {}
