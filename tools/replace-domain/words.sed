# A user becomes an order.
s/\ba user/an order/g
s/user/order/g
s/User/Order/g
s/USER/ORDER/g
