# The problems that the domain makes.
/^## email-taken/,/^409/c\
## reference-taken\
409. Another order of the tenant has this reference. Choose another.\
\
## order-cancelled\
409. The order was cancelled, and a cancelled order stays so. Place another one.
s/another user/another order/
