"""What risk does to the account: the steps, what it says of them, limits in force, bookings, operators' actions."""
