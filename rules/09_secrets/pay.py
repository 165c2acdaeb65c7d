"""A bank of paper: what it prints, raises and returns holds the key, and nobody sees it."""


def charge(id, total, key):
    print(f"POST /charges with key {key}")
    if total > 1000:
        raise ValueError(f"the bank says no to {key}")
    return {"receipt": f"R{id}", "signed": f"{total} by {key}"}


def refund(id, pin):
    return {"refunded": id}
