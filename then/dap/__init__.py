"""The Debug Adapter Protocol: editors as a front end of `then.debugger`."""
